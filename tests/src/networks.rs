//! Networks of a test's own: the test runs in one, with its server, and other hosts are wired to it as it likes.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
};

/// Set for the process that is inside.
const INSIDE: &str = "PATCHBAY_TEST_NETWORK";

/// Runs the test of this name once more, in a network that has nothing but a loopback device; true there, where the test goes on.
/// False outside, when the other one has succeeded, or where this user may not make networks, which is said aloud and fails if `CI`
/// is set. The other one's failure is this one's.
pub fn inside(test: &str) -> bool {
    #[allow(clippy::disallowed_methods)] // Tests have no settings of their own.
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable(INSIDE) == test {
        shell("ip link set lo up");
        return true;
    }
    let is_there = |program: &str| {
        let directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
        directories.iter().any(|directory| Path::new(directory).join(program).is_file())
    };
    let is_allowed = Command::new("unshare").args(["--net", "true"]).output();
    let is_allowed = is_allowed.is_ok_and(|output| output.status.success());
    if !is_there("ip") || !is_there("nft") || !is_allowed {
        let ci = variable("CI");
        assert!(ci.is_empty() || ci == "false", "no networks can be made, and nothing may be skipped here");
        eprintln!(
            "SKIPPED: this user may not make networks, or ip and nft (Debian: iproute2, nftables) are missing"
        );
        return false;
    }
    let mut again = Command::new("unshare");
    again.arg("--net").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    let output = again.env(INSIDE, test).stdin(Stdio::null()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "inside:\n{out}\n{errors}");
    assert!(out.contains("1 passed"), "no test of the name {test}: {out}");
    // What was skipped in there was not tried here.
    for line in errors.lines().filter(|line| line.starts_with("SKIPPED")) {
        eprintln!("{line}");
    }
    false
}

fn done(output: std::io::Result<Output>, what: &str) {
    let output = output.unwrap();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs lines of the shell where the test is.
pub fn shell(lines: &str) {
    done(
        Command::new("sh").args(["-ec", lines]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output(),
        lines,
    );
}

/// Another host, with a network of its own.
pub struct Host(Child);

impl Host {
    /// A host without any link.
    pub async fn new() -> Self {
        let mut child = tokio::process::Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"])
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let line = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap();
        assert_eq!(line.as_deref(), Some("up"));
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().unwrap().to_string()
    }

    /// Wires this host to the one where the test is: the devices have these names, here and there.
    pub fn wire(&self, there: &str, here: &str) {
        shell(&format!("ip link add {here} type veth peer name {there} netns {}", self.pid()));
    }

    /// Wires this host to another one.
    pub fn wire_to(&self, name: &str, other: &Host, other_name: &str) {
        let (this, that) = (self.pid(), other.pid());
        // By way of the test's own network, where names must not be taken.
        shell(&format!("ip link add {name} netns {this} type veth peer name {other_name} netns {that}"));
    }

    /// Runs lines of the shell on this host.
    pub fn shell(&self, lines: &str) {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid(), "-n", "sh", "-ec", lines]);
        done(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output(), lines);
    }

    /// What has to stand before a command for it to run on this host.
    pub fn prefix(&self) -> Vec<String> {
        ["nsenter", "-t", &self.pid(), "-n"].map(str::to_owned).to_vec()
    }
}
