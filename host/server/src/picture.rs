//! Profile pictures: decoding what somebody sent and encoding it anew, so that nothing but pixels is kept.
//!
//! Owns: formats and bounds. Must not: do IO.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, Limits};

/// Most bytes of what is sent.
pub const MAX_BYTES: usize = 10 * 1024 * 1024;
/// Most pixels of a side: more than any camera's, less than what a bomb unpacks to.
const MAX_SIDE: u32 = 12_000;
/// Most memory that decoding may take.
const MAX_DECODED: u64 = 256 * 1024 * 1024;
/// Pixels of the longer side of what is kept.
const KEPT_SIDE: u32 = 512;
const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif];

/// Why something is not a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPicture {
    /// Another format, or none.
    #[error("must be a PNG, JPEG, WebP or GIF image")]
    Format,
    /// Larger than any picture.
    #[error("has too many pixels")]
    TooLarge,
    /// It begins as an image and isn't one.
    #[error("is damaged")]
    Damaged,
}

/// The picture as a PNG of at most 512 by 512 pixels, the right way up. Of an animation the first frame.
///
/// # Errors
/// [`NotAPicture`]. The format is told by the content, never by a name.
pub fn normalise(bytes: &[u8]) -> Result<Vec<u8>, NotAPicture> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| NotAPicture::Format)?;
    if !reader.format().is_some_and(|format| FORMATS.contains(&format)) {
        return Err(NotAPicture::Format);
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(refusal)?;
    let orientation = image::ImageDecoder::orientation(&mut decoder).map_err(refusal)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refusal)?;
    picture.apply_orientation(orientation);
    if picture.width() > KEPT_SIDE || picture.height() > KEPT_SIDE {
        picture = picture.thumbnail(KEPT_SIDE, KEPT_SIDE);
    }
    let mut png = Vec::new();
    picture.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).map_err(refusal)?;
    Ok(png)
}

fn refusal(error: image::ImageError) -> NotAPicture {
    match error {
        image::ImageError::Limits(_) => NotAPicture::TooLarge,
        image::ImageError::Unsupported(_) => NotAPicture::Format,
        _ => NotAPicture::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Vec::new();
        let picture = DynamicImage::new_rgb8(width, height);
        picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        bytes
    }

    #[test]
    fn every_format_becomes_a_small_png() {
        for format in FORMATS {
            let png = normalise(&encoded(1024, 256, format)).unwrap();
            let kept = image::load_from_memory_with_format(&png, ImageFormat::Png).unwrap();
            assert_eq!((kept.width(), kept.height()), (512, 128), "{format:?}");
        }
        let small = normalise(&encoded(3, 5, ImageFormat::Png)).unwrap();
        assert_eq!(image::load_from_memory(&small).unwrap().width(), 3);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for text in ["", "hello", "<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "<html><script>", "GIF8"] {
            assert!(normalise(text.as_bytes()).is_err(), "{text}");
        }
        let mut cut = encoded(64, 64, ImageFormat::Jpeg);
        cut.truncate(40);
        assert_eq!(normalise(&cut), Err(NotAPicture::Damaged));
        let mut bomb = encoded(1, 1, ImageFormat::Png);
        // Width and height of the header (PNG, 11.2.2), and its checksum is wrong now too.
        bomb[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        assert!(normalise(&bomb).is_err());
        assert_eq!(normalise(&encoded(12_001, 1, ImageFormat::Png)), Err(NotAPicture::TooLarge));
    }
}
