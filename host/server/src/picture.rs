//! Pictures: decoding what somebody sent and encoding it anew, small, so that nothing but pixels is kept.
//!
//! Owns: formats and bounds. Must not: do IO.

use std::io::Cursor;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder};

/// Most bytes of a profile picture as it is sent.
pub const MAX_BYTES: usize = 10 * 1024 * 1024;
/// Most bytes of an image that gets a thumbnail.
pub const MAX_IMAGE_BYTES: u64 = 32 * 1024 * 1024;
/// Most pixels of a side: more than any camera's, less than what a bomb unpacks to.
const MAX_SIDE: u32 = 12_000;
/// Most memory that decoding may take.
const MAX_DECODED: u64 = 256 * 1024 * 1024;
/// Pixels of the longer side of what is kept of a profile picture.
const KEPT_SIDE: u32 = 512;
/// Pixels of the longer side of a thumbnail.
const THUMBNAIL_SIDE: u32 = 400;
/// Of a thumbnail without transparency, of 100.
const JPEG_QUALITY: u8 = 80;
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
    let picture = shrunk(decode(bytes)?, KEPT_SIDE);
    let mut png = Vec::new();
    picture.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).map_err(refusal)?;
    Ok(png)
}

/// A small picture of an image.
#[derive(Debug)]
pub struct Thumbnail {
    /// Pixels of the image, the right way up.
    pub width: u32,
    /// Pixels of the image, the right way up.
    pub height: u32,
    /// The MIME type of the small picture.
    pub kind: &'static str,
    /// The small picture.
    pub bytes: Bytes,
}

/// The image with at most 400 by 400 pixels, the right way up: a JPEG, or a PNG if it has transparency. Of an
/// animation the first frame.
///
/// # Errors
/// [`NotAPicture`].
pub fn thumbnail(bytes: &[u8]) -> Result<Thumbnail, NotAPicture> {
    let picture = decode(bytes)?;
    let (width, height) = (picture.width(), picture.height());
    let small = shrunk(picture, THUMBNAIL_SIDE);
    let mut bytes = Vec::new();
    let kind = if small.color().has_alpha() {
        small.to_rgba8().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).map_err(refusal)?;
        "image/png"
    } else {
        let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
        small.to_rgb8().write_with_encoder(encoder).map_err(refusal)?;
        "image/jpeg"
    };
    Ok(Thumbnail { width, height, kind, bytes: bytes.into() })
}

/// Whether a MIME type is one of those that are shown in the page instead of being saved: images that can't carry
/// scripts.
pub fn is_shown(kind: &str) -> bool {
    FORMATS.iter().any(|format| format.to_mime_type() == kind)
}

/// The MIME type of one of those images, by how it begins.
pub fn format_of(head: &[u8]) -> Option<&'static str> {
    let format = image::guess_format(head).ok().filter(|format| FORMATS.contains(format))?;
    Some(format.to_mime_type())
}

fn shrunk(picture: DynamicImage, side: u32) -> DynamicImage {
    if picture.width() > side || picture.height() > side { picture.thumbnail(side, side) } else { picture }
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, NotAPicture> {
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
    // The library holds its own buffers to the limit, and not the one that the picture is decoded into.
    if image::ImageDecoder::total_bytes(&decoder) > MAX_DECODED {
        return Err(NotAPicture::TooLarge);
    }
    let orientation = image::ImageDecoder::orientation(&mut decoder).map_err(refusal)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refusal)?;
    picture.apply_orientation(orientation);
    Ok(picture)
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

    /// A PNG that says it has `side` by `side` pixels of 8 bytes, and has none.
    fn head_of_png(side: u32) -> Vec<u8> {
        let crc = |bytes: &[u8]| {
            !bytes.iter().fold(!0u32, |crc, byte| {
                (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                    (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1))
                })
            })
        };
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        let size = side.to_be_bytes();
        for (kind, data) in
            [(b"IHDR", [&size[..], &size[..], &[16, 6, 0, 0, 0]].concat()), (b"IDAT", vec![0x78, 0x9c])]
        {
            png.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            let chunk = [&kind[..], &data].concat();
            png.extend(&chunk);
            png.extend(crc(&chunk).to_be_bytes());
        }
        png
    }

    #[test]
    fn what_would_take_too_much_memory_is_not_begun() {
        // 5,792² pixels of 8 bytes are 256 MiB.
        assert!(matches!(normalise(&head_of_png(5_793)), Err(NotAPicture::TooLarge)));
        assert!(matches!(normalise(&head_of_png(5_792)), Err(NotAPicture::Damaged)));
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
    fn thumbnails_are_small_and_keep_their_transparency() {
        for format in FORMATS {
            let made = thumbnail(&encoded(1000, 250, format)).unwrap();
            assert_eq!((made.width, made.height), (1000, 250), "{format:?}");
            let small = image::load_from_memory(&made.bytes).unwrap();
            assert_eq!((small.width(), small.height()), (400, 100), "{format:?}");
            assert_eq!(format_of(&made.bytes), Some(made.kind));
        }
        for (picture, kind) in [
            (DynamicImage::new_rgba16(5, 5), "image/png"),
            (DynamicImage::new_luma8(5, 5), "image/jpeg"),
            (DynamicImage::new_rgb16(5, 5), "image/jpeg"),
        ] {
            let mut bytes = Vec::new();
            picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
            assert_eq!(thumbnail(&bytes).unwrap().kind, kind);
        }
        assert!(format_of(b"<svg>").is_none() && is_shown("image/webp") && !is_shown("image/svg+xml"));
    }

    #[test]
    fn what_lies_on_its_side_is_put_upright() {
        let jpeg = encoded(40, 20, ImageFormat::Jpeg);
        // An EXIF segment that says orientation 6: turn by a quarter to the right.
        let mut exif =
            b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
                .to_vec();
        exif.extend_from_slice(&jpeg[2..]);
        let turned = [&jpeg[..2], &exif].concat();
        let made = thumbnail(&turned).unwrap();
        assert_eq!((made.width, made.height), (20, 40));
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
