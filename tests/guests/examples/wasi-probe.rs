//! Looks for what WASI could give away, and tells what it found.
//!
//! `POST /api/plugins/wasi-probe/{what}`

use patchbay_sdk::{Actor, Error, Http, Request, Response, Value, answer::Answer, input, json};
use wasip2::{
    cli::{environment, stderr::get_stderr, stdin::get_stdin, stdout::get_stdout},
    clocks::{monotonic_clock, wall_clock},
    filesystem::preopens,
    io::streams::OutputStream,
    random::random,
    sockets::{
        instance_network::instance_network,
        ip_name_lookup,
        network::{ErrorCode, IpAddressFamily},
        tcp_create_socket, udp_create_socket,
    },
};

struct Guest;

impl Http for Guest {
    fn handle(request: Request, _: Option<&Actor>, response: &Response) -> Result<(), Error> {
        let value = match input::param(&request, "what").unwrap_or_default() {
            "surroundings" => surroundings(),
            "sockets" => sockets(),
            "speak" => {
                write(&get_stdout(), "a line of standard output\nand one ");
                write(&get_stdout(), "that has no end");
                write(&get_stderr(), "a complaint\n");
                Value::Null
            }
            "flood" => {
                let (out, line) = (get_stdout(), "flood\n".repeat(100));
                for _ in 0..20 {
                    write(&out, &line);
                }
                Value::Null
            }
            "time" => {
                let before = monotonic_clock::now();
                monotonic_clock::subscribe_duration(20_000_000).block();
                json!({
                    "passed": monotonic_clock::now() - before,
                    "now": wall_clock::now().seconds,
                    "random": random::get_random_bytes(16),
                })
            }
            "sleep" => {
                monotonic_clock::subscribe_duration(600_000_000_000).block();
                Value::Null
            }
            "handles" => {
                let kept: Vec<_> = (0..100_000).map(monotonic_clock::subscribe_duration).collect();
                json!(kept.len())
            }
            _ => return Err(Error::not_found("no such thing")),
        };
        Answer::json(200, &value).send(response)
    }
}

patchbay_sdk::register!(Guest: http);

fn write(stream: &OutputStream, text: &str) {
    for piece in text.as_bytes().chunks(4096) {
        let _ = stream.blocking_write_and_flush(piece);
    }
}

fn surroundings() -> Value {
    json!({
        "variables": environment::get_environment(),
        "arguments": environment::get_arguments(),
        "directory": environment::initial_cwd(),
        "preopens": preopens::get_directories().len(),
        "input": get_stdin().blocking_read(16).map_or(0, |read| read.len()),
    })
}

fn sockets() -> Value {
    let refused = |error: Option<ErrorCode>| json!(error.map(|error| error.name()));
    json!({
        "tcp": refused(tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4).err()),
        "udp": refused(udp_create_socket::create_udp_socket(IpAddressFamily::Ipv4).err()),
        "lookup": refused(ip_name_lookup::resolve_addresses(&instance_network(), "localhost").err()),
    })
}
