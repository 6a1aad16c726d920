use super::*;
use proptest::prelude::*;
use std::io::Write;

/// A disk: a boot sector, and then bytes that compress somewhat.
fn disk(size: usize) -> Vec<u8> {
    let mut disk: Vec<u8> = (0..size as u64)
        .map(|n| if n % 4096 < 2048 { 0 } else { (n.wrapping_mul(n) >> 7) as u8 })
        .collect();
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

fn xz(bytes: &[u8], block: u64) -> Vec<u8> {
    let stream = liblzma::stream::MtStreamBuilder::new()
        .preset(1)
        .threads(2)
        .block_size(block)
        .check(liblzma::stream::Check::Crc64)
        .encoder()
        .unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn one_block(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_contentsize(true).unwrap();
    encoder.set_pledged_src_size(Some(bytes.len() as u64)).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn bz2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A zip as most tools make it.
fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = ::zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A zip that was itself streamed: sizes and checksums stand behind the data.
fn streamed_zip(name: &str, bytes: &[u8], large: bool) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    let packed = encoder.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let mut out = b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0".to_vec();
    out.extend(if large { [0xff; 8] } else { [0; 8] });
    out.extend((name.len() as u16).to_le_bytes());
    out.extend(if large { 20u16 } else { 0 }.to_le_bytes());
    out.extend(name.bytes());
    if large {
        out.extend([1, 0, 16, 0]);
        out.extend([0; 16]);
    }
    out.extend(&packed);
    out.extend(b"PK\x07\x08");
    out.extend(crc.sum().to_le_bytes());
    for size in [packed.len(), bytes.len()] {
        match large {
            true => out.extend((size as u64).to_le_bytes()),
            false => out.extend((size as u32).to_le_bytes()),
        }
    }
    // The list at the end is not read when a zip is streamed.
    out.extend(b"PK\x01\x02");
    out
}

/// A reader that gives little at a time.
struct Trickle(std::io::Cursor<Vec<u8>>, usize);

impl Read for Trickle {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(self.1);
        self.0.read(&mut into[..length])
    }
}

fn opened(file: Vec<u8>) -> Result<Decoded> {
    open(Box::new(std::io::Cursor::new(file)), Options::default())
}

/// With the file behind it, as for one that is on the disk.
fn opened_here(file: &[u8]) -> Result<Decoded> {
    let mut here = tempfile::tempfile().unwrap();
    here.write_all(file).unwrap();
    let options = Options {
        whole: Whole {
            here: Some(here),
            verified: None,
        },
        ..Options::default()
    };
    open(Box::new(std::io::Cursor::new(file.to_vec())), options)
}

fn all(decoded: Result<Decoded>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut decoded = decoded?;
    decoded
        .reader
        .read_to_end(&mut bytes)
        .map_err(|e| told(e, "cannot decode the image"))?;
    Ok(bytes)
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn every_compression_gives_the_disk() {
    let disk = disk(3 << 20);
    let (first, second) = disk.split_at(1 << 20);
    let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc";
    for (what, file, compression, size) in [
        ("raw", disk.clone(), Compression::None, true),
        ("xz of many blocks", xz(&disk, 256 << 10), Compression::Xz, true),
        ("xz of one block", one_block(&disk), Compression::Xz, true),
        (
            "xz of two streams, padded",
            join(&[&xz(first, 1 << 18), &[0; 8], &one_block(second), &[0; 4]]),
            Compression::Xz,
            true,
        ),
        ("gz", gzip(&disk), Compression::Gzip, false),
        (
            "gz of two members",
            join(&[&gzip(first), &gzip(second)]),
            Compression::Gzip,
            false,
        ),
        ("zst", zst(&disk), Compression::Zstd, true),
        (
            "zst of two frames and one to be skipped",
            join(&[skipped, &zst(first), skipped, &zst(second)]),
            Compression::Zstd,
            true,
        ),
        ("bz2", bz2(&disk), Compression::Bzip2, false),
        (
            "bz2 of two streams",
            join(&[&bz2(first), &bz2(second)]),
            Compression::Bzip2,
            false,
        ),
        (
            "zip",
            zipped(&[("README.txt", b"hello"), ("a/pi.img", &disk)]),
            Compression::Zip,
            true,
        ),
    ] {
        let decoded = opened(file.clone()).unwrap();
        assert_eq!((decoded.compression, decoded.format), (compression, Format::Raw), "{what}");
        let consumed = decoded.consumed.clone();
        assert!(all(Ok(decoded)).unwrap() == disk, "{what}: streamed");
        assert_eq!(consumed.load(Ordering::Relaxed), file.len() as u64, "{what}: read to its end");
        let decoded = opened_here(&file).unwrap();
        assert_eq!(decoded.size, size.then_some(disk.len() as u64), "{what}");
        assert!(all(Ok(decoded)).unwrap() == disk, "{what}: from a file");
        let trickled = open(Box::new(Trickle(std::io::Cursor::new(file), 7)), Options::default());
        assert!(all(trickled).unwrap() == disk, "{what}: seven bytes at a time");
    }
}

#[test]
fn zips_that_were_streamed_are_streamed() {
    let disk = disk(1 << 20);
    for large in [false, true] {
        let decoded = opened(streamed_zip("pi.img", &disk, large)).unwrap();
        assert_eq!(decoded.size, None);
        assert!(all(Ok(decoded)).unwrap() == disk, "{large}");
    }
}

#[test]
fn of_a_zip_there_is_one_image() {
    let (one, two) = (disk(4096), disk(8192));
    let text = b"just text".repeat(1000);
    for (files, expected) in [
        (
            vec![("a.img", &one[..]), ("b.bin", &two[..])],
            Err("the zip has two images in it: `a.img` and `b.bin`"),
        ),
        (vec![("a.bin", &one[..]), ("LICENSE", &text[..])], Ok(&one)),
        (vec![("LICENSE", &text[..]), ("sub/", b""), ("sub/a", &one[..])], Ok(&one)),
    ] {
        let zip = zipped(&files);
        for found in [all(opened(zip.clone())), all(opened_here(&zip))] {
            match expected {
                Ok(expected) => assert!(found.unwrap() == *expected),
                Err(expected) => assert_eq!(found.unwrap_err().to_string(), expected),
            }
        }
    }
    let error = all(opened_here(&zipped(&[("a.txt", &text), ("b.txt", &text)]))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of the zip's files is an image: `a.txt`, `b.txt`, ..."
    );
    let error = all(opened(zipped(&[("a.txt", &text)]))).unwrap_err();
    assert_eq!(error.to_string(), "there is no image in the zip");
}

#[test]
fn tars_are_told_apart() {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    header.set_mode(0o644);
    tar.append_data(&mut header, "etc/hostname", &b"alarm"[..]).unwrap();
    let tar = tar.into_inner().unwrap();
    for file in [
        tar.clone(),
        gzip(&tar),
        one_block(&tar),
        zst(&tar),
        zipped(&[("root.tar", &tar)]),
    ] {
        assert_eq!(opened(file).unwrap().format, Format::RootTar);
    }
}

#[test]
fn what_is_cut_off_says_so() {
    let disk = disk(2 << 20);
    for (file, expected) in [
        (xz(&disk, 256 << 10), "the image is an xz file that ends too early: "),
        (one_block(&disk), "the image is an xz file that ends too early: "),
        (gzip(&disk), "the image is a gzip file that ends too early: "),
        (zst(&disk), "the image is a zstd file that ends too early: "),
        (bz2(&disk), "the image is a bzip2 file that ends too early: "),
        (zipped(&[("a.img", &disk)]), "the image is a zip file that ends too early: "),
    ] {
        // Half way, and just before the end: behind the last byte of the disk, in a checksum or an index.
        for keep in [file.len() / 2, file.len() - 3] {
            let error = match all(opened(file[..keep].to_vec())) {
                // What follows the list at a zip's end is not looked at.
                Ok(_) if expected.contains("zip") && keep > file.len() / 2 => continue,
                found => found.unwrap_err().to_string(),
            };
            assert!(error.starts_with(expected), "{keep}: {error}");
        }
    }
    assert_eq!(opened(Vec::new()).err().unwrap().to_string(), "the image's file is empty");
}

#[test]
fn what_is_damaged_says_where() {
    let disk = disk(2 << 20);
    for (file, expected) in [
        (xz(&disk, 256 << 10), "the image is an xz file that is damaged near byte "),
        (gzip(&disk), "the image is a gzip file that is damaged near byte "),
        (bz2(&disk), "the image is a bzip2 file that is damaged near byte "),
        (
            zipped(&[("a.img", &disk)]),
            "the image is a zip file that is damaged near byte ",
        ),
    ] {
        let mut file = file;
        let middle = file.len() / 2;
        file[middle] ^= 0x40;
        file[middle + 1] ^= 0x04;
        let error = all(opened(file)).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let error = all(opened(join(&[&one_block(&disk), b"something else"])))
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("something else follows behind its end"), "{error}");
}

#[test]
fn what_is_no_image_is_refused() {
    let disk = disk(1 << 20);
    for (file, expected) in [
        (
            gzip(&one_block(&disk)),
            "the image is compressed twice: an xz file in a gzip file",
        ),
        (
            b"QFI\xfb\0\0\0\x03".to_vec(),
            "the file is a qcow2 disk of QEMU, not the image of a disk",
        ),
        (
            b"<!DOCTYPE html><p>404".to_vec(),
            "the file is a web page, not the image of a disk",
        ),
        (
            gzip(b"QFI\xfb"),
            "in a gzip file, there is a qcow2 disk of QEMU, not the image of a disk",
        ),
        (gzip(b""), "the image is a gzip file with nothing in it"),
    ] {
        assert_eq!(opened(file).err().unwrap().to_string(), expected);
    }
}

#[test]
fn memory_is_bounded_whatever_a_file_claims() {
    // A dictionary of 1 GiB.
    let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
    options.dict_size(1 << 30);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    // The header is what matters; made with a small one, and changed, as an encoder would really take the memory.
    drop((options, filters));
    let mut file = one_block(&disk(1 << 20));
    // Stream header 12, block header: size, flags, filter 0x21, size of properties 1, dictionary.
    assert_eq!(file[14..16], [0x21, 1]);
    file[16] = 36;
    let size = (usize::from(file[12]) + 1) * 4;
    let mut crc = flate2::Crc::new();
    crc.update(&file[12..12 + size - 4]);
    let crc = crc.sum().to_le_bytes();
    file[12 + size - 4..12 + size].copy_from_slice(&crc);
    let error = all(opened(file)).unwrap_err().to_string();
    assert!(error.contains("its dictionary needs more than 128 MiB"), "{error}");

    // A window of 2 GiB: magic, descriptor without sizes, window.
    let error = all(opened(b"\x28\xb5\x2f\xfd\0\xa8\x01\0\0".to_vec()))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("the image is a zstd file that is damaged"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is done to a file, it is decoded to the same, or there is an error: nothing panics, nothing hangs.
    #[test]
    fn no_file_is_decoded_to_something_else(kind in 0..5usize, at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<bool>()) {
        let disk = disk(64 << 10);
        let file = match kind {
            0 => xz(&disk, 16 << 10),
            1 => gzip(&disk),
            2 => zst(&disk),
            3 => bz2(&disk),
            _ => zipped(&[("a.img", &disk)]),
        };
        let mut changed = file;
        let at = at.index(changed.len());
        if cut {
            changed.truncate(at);
        } else {
            changed[at] ^= 1 << bit;
        }
        for decoded in [opened(changed.clone()), opened_here(&changed)] {
            let unchecked = decoded.as_ref().is_ok_and(|d| d.compression == Compression::None || d.compression == Compression::Zstd);
            if let Ok(bytes) = all(decoded)
                && !unchecked
            {
                prop_assert!(bytes == disk);
            }
        }
    }
}
