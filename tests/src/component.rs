//! Components that tests make out of others, or by hand.

/// The manifest's custom section.
const MANIFEST: &str = "patchbay:manifest";

/// A custom section, as it stands in a component.
pub fn custom_section(name: &str, content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    leb(name.len(), &mut body);
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(content);
    let mut section = vec![0];
    leb(body.len(), &mut section);
    section.extend(body);
    section
}

/// An unsigned number as WebAssembly writes it.
pub fn leb(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A component with this manifest, whatever it says.
pub fn packed(component: &[u8], manifest: &str) -> Vec<u8> {
    [component, &custom_section(MANIFEST, manifest.as_bytes())].concat()
}

/// Cuts off what packing added, which is at the end.
pub fn without_manifest(component: &[u8]) -> Vec<u8> {
    let at = component.windows(MANIFEST.len()).rposition(|window| window == MANIFEST.as_bytes()).unwrap();
    // Before the name: its length, the section's length (LEB128) and the section's id, 0.
    let mut start = at - 2;
    while component[start] != 0 {
        start -= 1;
    }
    component[..start].to_vec()
}

/// A component with this manifest in place of its own.
pub fn repacked(component: &[u8], manifest: &str) -> Vec<u8> {
    packed(&without_manifest(component), manifest)
}

/// A component's manifest.
pub fn manifest(component: &[u8]) -> String {
    let at = component.windows(MANIFEST.len()).rposition(|window| window == MANIFEST.as_bytes()).unwrap();
    String::from_utf8(component[at + MANIFEST.len()..].to_vec()).unwrap()
}

/// The same plugin with another name, in its paths too.
pub fn renamed(component: &[u8], from: &str, to: &str) -> Vec<u8> {
    repacked(component, &manifest(component).replace(from, to))
}
