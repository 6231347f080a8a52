//! Files with something in them: pictures, texts, documents.
//!
//! Owns: their bytes. Must not: know where they go.

use fastrand::Rng;
use image::{ImageFormat, RgbImage};

use super::words;

/// A file: its name, its media type, its bytes.
pub struct Media {
    /// With its extension.
    pub name: String,
    /// Its media type.
    pub kind: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The `n`th file.
///
/// # Errors
/// If a picture can't be encoded.
pub fn media(rng: &mut Rng, n: usize) -> Result<Media, image::ImageError> {
    Ok(match n % 3 {
        0 => Media { name: format!("screenshot-{n}.png"), kind: "image/png", bytes: picture(rng)? },
        1 => {
            let lines: Vec<_> = (0..rng.usize(5..40)).map(|_| words::sentence(rng)).collect();
            Media { name: format!("notes-{n}.txt"), kind: "text/plain", bytes: lines.join("\n").into_bytes() }
        }
        _ => Media { name: format!("report-{n}.pdf"), kind: "application/pdf", bytes: document(n) },
    })
}

/// A gradient between two colours.
fn picture(rng: &mut Rng) -> Result<Vec<u8>, image::ImageError> {
    let (width, height) = (rng.u32(32..96), rng.u32(32..96));
    let (red, green) = (rng.u8(..), rng.u8(..));
    let shade = |at: u32, of: u32| u8::try_from(at * 255 / of).unwrap_or(u8::MAX);
    let image = RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([red ^ shade(x, width), green ^ shade(y, height), shade(x, width)])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

/// A page with a line on it (PDF 1.4, ISO 32000-1, 7.5: header, body, cross-reference table, trailer).
fn document(n: usize) -> Vec<u8> {
    let text = format!("BT /F1 24 Tf 72 720 Td (Report {n}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R \
         /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let (mut pdf, mut table) = ("%PDF-1.4\n".to_owned(), String::from("0000000000 65535 f \n"));
    for (at, object) in objects.iter().enumerate() {
        table.push_str(&format!("{:010} 00000 n \n", pdf.len()));
        pdf.push_str(&format!("{} 0 obj\n{object}\nendobj\n", at + 1));
    }
    let start = pdf.len();
    let size = objects.len() + 1;
    pdf.push_str(&format!("xref\n0 {size}\n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"));
    pdf.push_str(&format!("startxref\n{start}\n%%EOF\n"));
    pdf.into_bytes()
}
