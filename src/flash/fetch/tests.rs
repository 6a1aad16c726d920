use super::super::decode::told;
use super::*;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

/// What the server does with the next request for the image; as a good server where nothing is planned.
enum Act {
    /// The connection ends after so many bytes of the body.
    Break(usize),
    /// After so many bytes of the body, the rest waits until something is sent, or the sender is gone.
    Hold(usize, Receiver<()>),
    /// Another status, with this header.
    Status(u16, &'static str),
    /// It claims to be so long.
    Claim(u64),
}

struct Site {
    body: Vec<u8>,
    etag: Option<String>,
    /// It understands `Range`.
    ranges: bool,
    /// It says how long the body is.
    length: bool,
    sums: String,
    acts: VecDeque<Act>,
    /// The requests for the image: their `Range` and `If-Range`.
    seen: Vec<String>,
}

struct Server {
    port: u16,
    site: Arc<Mutex<Site>>,
}

impl Server {
    fn new(body: &[u8], acts: impl IntoIterator<Item = Act>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let site = Arc::new(Mutex::new(Site {
            body: body.to_vec(),
            etag: Some("\"one\"".to_owned()),
            ranges: true,
            length: true,
            sums: String::new(),
            acts: acts.into_iter().collect(),
            seen: Vec::new(),
        }));
        let served = site.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let site = served.clone();
                // A client that has gone away is no failure of the server's.
                std::thread::spawn(move || serve(stream, &site).unwrap_or_default());
            }
        });
        Server { port, site }
    }

    fn change(&self, change: impl FnOnce(&mut Site)) {
        change(&mut self.site.lock().unwrap());
    }

    fn seen(&self) -> Vec<String> {
        self.site.lock().unwrap().seen.clone()
    }

    fn wanted(&self, expected: Expected) -> Wanted {
        Wanted {
            name: "pi".to_owned(),
            location: Location::Url(format!("http://127.0.0.1:{}/images/pi.img", self.port)),
            expected,
        }
    }

    fn listed(&self) -> Wanted {
        self.wanted(Expected::Listed(Location::Url(format!(
            "http://127.0.0.1:{}/SHA256SUMS",
            self.port
        ))))
    }
}

fn serve(stream: TcpStream, site: &Mutex<Site>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut out = stream;
    if head.first().is_some_and(|line| line.contains("/SHA256SUMS")) {
        let text = site.lock().unwrap().sums.clone();
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
            text.len()
        )?;
        return Ok(());
    }
    let (range, if_range) = (header("range"), header("if-range"));
    let (act, body, reply) = {
        let mut site = site.lock().unwrap();
        site.seen.push(match (&range, &if_range) {
            (Some(range), Some(if_range)) => format!("{range} if {if_range}"),
            (Some(range), None) => range.clone(),
            (None, _) => header("if-none-match").map_or("all".to_owned(), |tag| format!("unless {tag}")),
        });
        let act = site.acts.pop_front();
        let etag = site.etag.as_ref().map_or(String::new(), |etag| format!("etag: {etag}\r\n"));
        if header("if-none-match").is_some() && header("if-none-match") == site.etag {
            write!(out, "HTTP/1.1 304 Not Modified\r\n{etag}connection: close\r\n\r\n")?;
            return Ok(());
        }
        let start = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let start = start.filter(|_| site.ranges && (if_range.is_none() || if_range == site.etag));
        let total = site.body.len();
        match start {
            Some(start) if start >= total => {
                write!(
                    out,
                    "HTTP/1.1 416 No\r\ncontent-range: bytes */{total}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                )?;
                return Ok(());
            }
            Some(start) => {
                let body = site.body[start..].to_vec();
                let range = format!("content-range: bytes {start}-{}/{total}\r\n", total - 1);
                (
                    act,
                    body,
                    format!("206 Partial\r\n{range}{etag}content-length: {}\r\n", total - start),
                )
            }
            None => {
                let length = match site.length {
                    true => format!("content-length: {total}\r\n"),
                    false => String::new(),
                };
                (act, site.body.clone(), format!("200 OK\r\n{etag}{length}"))
            }
        }
    };
    let status = |out: &mut TcpStream, reply: &str| write!(out, "HTTP/1.1 {reply}connection: close\r\n\r\n");
    match act {
        Some(Act::Status(code, more)) => status(&mut out, &format!("{code} X\r\ncontent-length: 0\r\n{more}")),
        Some(Act::Claim(length)) => status(&mut out, &format!("200 OK\r\ncontent-length: {length}\r\n")),
        Some(Act::Break(after)) => {
            status(&mut out, &reply)?;
            out.write_all(&body[..after.min(body.len())])
        }
        Some(Act::Hold(after, go)) => {
            status(&mut out, &reply)?;
            out.write_all(&body[..after])?;
            let _ = go.recv();
            out.write_all(&body[after..])
        }
        None => {
            status(&mut out, &reply)?;
            out.write_all(&body)
        }
    }
}

struct Bench {
    folder: tempfile::TempDir,
    events: Arc<Mutex<Vec<Event>>>,
    stop: Arc<AtomicBool>,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            folder: tempfile::tempdir().unwrap(),
            events: Arc::default(),
            stop: Arc::default(),
        }
    }

    fn fetcher(&self) -> Fetcher {
        let events = self.events.clone();
        let listener = move |event: &Event| events.lock().unwrap().push(event.clone());
        Fetcher::new(self.folder.path().join("cache"), Arc::new(listener), self.stop.clone()).with_patience(Patience {
            attempts: 4,
            pause: Duration::from_millis(1),
            longest: Duration::from_millis(4),
            silence: Duration::from_secs(20),
        })
    }

    fn get(&self, wanted: &Wanted) -> Result<Vec<u8>> {
        all(self.fetcher().fetch(wanted)?)
    }

    /// The files in the cache whose names end so.
    fn files(&self, end: &str) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.path().join("cache")).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        files.filter(|path| path.to_string_lossy().ends_with(end)).collect()
    }
}

fn all(mut fetched: Fetched) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fetched.reader.read_to_end(&mut bytes).map_err(|e| told(e, "cannot fetch"))?;
    Ok(bytes)
}

fn body(seed: u32) -> Vec<u8> {
    (0..1_000_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 11) as u8)
        .collect()
}

fn sum(bytes: &[u8]) -> Sum {
    let mut hasher = Hasher::of(None);
    hasher.update(bytes);
    hasher.finish().0
}

#[test]
fn a_download_that_breaks_goes_on_where_it_was() {
    let body = body(1);
    let (server, bench) = (
        Server::new(&body, [Act::Break(300_000), Act::Break(0), Act::Break(400_000)]),
        Bench::new(),
    );
    let wanted = server.wanted(Expected::Sum(sum(&body)));
    assert!(bench.get(&wanted).unwrap() == body);
    assert_eq!(
        server.seen(),
        [
            "all",
            "bytes=300000- if \"one\"",
            "bytes=300000- if \"one\"",
            "bytes=700000- if \"one\""
        ]
    );
    let retries = bench
        .events
        .lock()
        .unwrap()
        .iter()
        .filter(|e| matches!(e, Event::Retrying { .. }))
        .count();
    assert_eq!(retries, 3);
    assert_eq!(bench.files(".part"), [] as [PathBuf; 0]);

    // From now on it is in the cache, whatever URL it has.
    assert_eq!(bench.fetcher().here(&wanted), bench.files(&sum(&body).to_string()).pop());
    let again = bench.fetcher().fetch(&wanted).unwrap();
    assert!(again.local);
    assert!(all(again).unwrap() == body);
    assert_eq!(server.seen().len(), 4);
}

#[test]
fn a_server_without_ranges_is_asked_for_all_of_it_again() {
    let body = body(2);
    let (server, bench) = (Server::new(&body, [Act::Break(300_000), Act::Break(100_000)]), Bench::new());
    server.change(|site| site.ranges = false);
    assert!(bench.get(&server.wanted(Expected::Sum(sum(&body)))).unwrap() == body);
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn a_body_of_unknown_length_is_taken_as_it_is() {
    let body = body(3);
    let (server, bench) = (Server::new(&body, []), Bench::new());
    server.change(|site| site.length = false);
    let fetched = bench.fetcher().fetch(&server.wanted(Expected::Nothing)).unwrap();
    assert_eq!(fetched.size, None);
    assert!(all(fetched).unwrap() == body);
}

/// Reads `count` bytes.
fn some(fetched: &mut Fetched, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    fetched.reader.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_interrupted_download_is_resumed_by_the_next_run() {
    let body = body(4);
    let (_never, go) = channel();
    let (server, bench) = (Server::new(&body, [Act::Hold(500_000, go)]), Bench::new());
    let wanted = server.wanted(Expected::Sum(sum(&body)));
    let mut fetched = bench.fetcher().fetch(&wanted).unwrap();
    assert!(some(&mut fetched, 500_000) == body[..500_000]);
    drop(fetched);
    assert_eq!(bench.files(".part").len(), 1);
    assert!(bench.get(&wanted).unwrap() == body);
    assert_eq!(server.seen(), ["all", "bytes=500000- if \"one\""]);
}

#[test]
fn what_changed_in_between_is_not_pieced_together() {
    let (old, new) = (body(5), body(6));
    for etag in [Some("\"two\"".to_owned()), None] {
        let (_never, go) = channel();
        let (server, bench) = (Server::new(&old, [Act::Hold(500_000, go)]), Bench::new());
        server.change(|site| site.etag = etag.clone().and(Some("\"one\"".to_owned())));
        let wanted = server.wanted(Expected::Nothing);
        let mut fetched = bench.fetcher().fetch(&wanted).unwrap();
        some(&mut fetched, 500_000);
        drop(fetched);
        server.change(|site| (site.body, site.etag) = (new.clone(), etag.clone()));
        assert!(bench.get(&wanted).unwrap() == new, "{etag:?}");
    }
}

#[test]
fn one_who_has_read_of_the_old_is_told_that_it_changed() {
    let (old, new) = (body(7), body(8));
    let (go, held) = channel();
    let (server, bench) = (Server::new(&old, [Act::Break(500_000), Act::Hold(0, held)]), Bench::new());
    let site = server.site.clone();
    let listener = move |event: &Event| {
        if matches!(event, Event::Retrying { .. }) {
            let mut site = site.lock().unwrap();
            (site.body, site.etag) = (new.clone(), Some("\"two\"".to_owned()));
        }
    };
    let fetcher = Fetcher {
        listener: Arc::new(listener),
        ..bench.fetcher()
    };
    let mut fetched = fetcher.fetch(&server.wanted(Expected::Nothing)).unwrap();
    assert!(some(&mut fetched, 500_000) == old[..500_000]);
    go.send(()).unwrap();
    let error = all(fetched).unwrap_err().to_string();
    assert_eq!(error, "pi: it changed on the server while it was being read");
    assert_eq!(server.seen(), ["all", "bytes=500000- if \"one\""]);
}

#[test]
fn a_wrong_checksum_keeps_the_file_aside() {
    let (body, other) = (body(9), sum(b"other"));
    let (server, bench) = (Server::new(&body, []), Bench::new());
    let error = bench.get(&server.wanted(Expected::Sum(other.clone()))).unwrap_err();
    let got = sum(&body);
    let text = error.to_string();
    assert!(
        text.ends_with(&format!("its SHA-256 is {got}, and should be {other}")),
        "{text}"
    );
    let bad = bench.files(".bad").pop().unwrap();
    assert_eq!(bad.file_name().unwrap().to_string_lossy(), format!("{got}.bad"));
    assert!(error.diagnostics()[0].hints[0].contains(&*bad.to_string_lossy()));
    assert!(std::fs::read(&bad).unwrap() == body);
    // The next run begins anew, and does not take the bad one for a part.
    assert!(bench.get(&server.wanted(Expected::Sum(other))).is_err());
    assert_eq!(server.seen(), ["all", "all"]);
}

#[test]
fn a_file_that_rots_in_the_cache_is_noticed() {
    let body = body(10);
    let (server, bench) = (Server::new(&body, []), Bench::new());
    let wanted = server.wanted(Expected::Sum(sum(&body)));
    bench.get(&wanted).unwrap();
    let path = bench.fetcher().here(&wanted).unwrap();
    let mut rotten = body.clone();
    rotten[77] ^= 1;
    std::fs::write(&path, rotten).unwrap();
    let error = bench.get(&wanted).unwrap_err().to_string();
    assert!(error.contains("the copy in the cache is damaged"), "{error}");
    assert!(bench.get(&wanted).unwrap() == body, "downloaded again");
}

#[test]
fn the_vendors_checksum_file_is_asked() {
    let body = body(11);
    let (server, bench) = (Server::new(&body, []), Bench::new());
    server.change(|site| site.sums = format!("{}  pi.img\n{}  other.img\n", sum(&body), sum(b"")));
    assert!(bench.get(&server.listed()).unwrap() == body);
    // Another file by that name, and another checksum for it.
    let next = self::body(12);
    server.change(|site| (site.body, site.sums) = (next.clone(), format!("SHA256 (pi.img) = {}\n", sum(&next))));
    assert!(bench.get(&server.listed()).unwrap() == next);
    server.change(|site| site.sums = format!("{}  a\n{}  b\n", sum(b""), sum(b"b")));
    let error = bench.get(&server.listed()).unwrap_err().to_string();
    assert!(error.contains("has no checksum for `pi.img`"), "{error}");
    // When nobody can be asked, what was compared once is taken from the cache.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let unreachable = Expected::Listed(Location::Url(format!("http://127.0.0.1:{gone}/SHA256SUMS")));
    assert!(bench.get(&server.wanted(unreachable)).unwrap() == next);
    let warned = |e: &Event| matches!(e, Event::Warning { message, .. } if message.contains("its checksum file was not reached"));
    assert!(bench.events.lock().unwrap().iter().any(warned));
}

#[test]
fn without_a_checksum_the_server_says_whether_it_is_still_that_file() {
    let (old, new) = (body(13), body(14));
    let (server, bench) = (Server::new(&old, []), Bench::new());
    let wanted = server.wanted(Expected::Nothing);
    assert!(bench.get(&wanted).unwrap() == old);
    let again = bench.fetcher().fetch(&wanted).unwrap();
    assert!(again.local);
    assert!(all(again).unwrap() == old);
    server.change(|site| (site.body, site.etag) = (new.clone(), Some("\"two\"".to_owned())));
    assert!(bench.get(&wanted).unwrap() == new);
    assert_eq!(server.seen(), ["all", "unless \"one\"", "unless \"one\""]);
    let warned = bench
        .events
        .lock()
        .unwrap()
        .iter()
        .any(|e| matches!(e, Event::Warning { message, .. } if message.contains("plain http")));
    assert!(warned);
}

#[test]
fn servers_that_refuse_are_told_of() {
    for (acts, expected) in [
        (vec![Act::Status(404, "")], "the server answers 404"),
        (vec![Act::Status(403, "")], "the server answers 403"),
        (
            (0..4).map(|_| Act::Status(503, "retry-after: 0\r\n")).collect(),
            "pi: 4 attempts brought nothing: the server answers 503",
        ),
        ((0..4).map(|_| Act::Break(0)).collect(), "pi: 4 attempts brought nothing: "),
        (vec![Act::Claim(1 << 60)], "MiB are yet to come"),
    ] {
        let (server, bench) = (Server::new(&body(15), acts), Bench::new());
        let error = bench.get(&server.wanted(Expected::Nothing)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    // One that has but a bad moment.
    let body = body(15);
    let (server, bench) = (
        Server::new(&body, [Act::Status(503, ""), Act::Status(429, "retry-after: 0\r\n")]),
        Bench::new(),
    );
    assert!(bench.get(&server.wanted(Expected::Nothing)).unwrap() == body);
    // Nobody there at all.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let wanted = Wanted {
        name: "pi".to_owned(),
        location: Location::Url(format!("http://127.0.0.1:{port}/x")),
        expected: Expected::Nothing,
    };
    let error = Bench::new().get(&wanted).unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Unreachable);
}

/// Two that want the same: the first is held after half of it.
fn two() -> (Vec<u8>, Server, Bench, Fetched, Fetched, Sender<()>) {
    let body = body(16);
    let (go, held) = channel();
    let (server, bench) = (Server::new(&body, [Act::Hold(500_000, held)]), Bench::new());
    let wanted = server.wanted(Expected::Sum(sum(&body)));
    let mut first = bench.fetcher().fetch(&wanted).unwrap();
    assert!(some(&mut first, 500_000) == body[..500_000]);
    let mut second = bench.fetcher().fetch(&wanted).unwrap();
    assert!(some(&mut second, 500_000) == body[..500_000], "it follows what is there");
    (body, server, bench, first, second, go)
}

#[test]
fn two_runs_share_a_download() {
    let (body, server, _bench, first, second, go) = two();
    go.send(()).unwrap();
    let second = std::thread::spawn(move || all(second).unwrap());
    assert!(all(first).unwrap() == body[500_000..]);
    assert!(second.join().unwrap() == body[500_000..]);
    assert_eq!(server.seen(), ["all"]);
}

#[test]
fn the_second_goes_on_when_the_first_is_gone() {
    let (body, server, _bench, first, second, _go) = two();
    drop(first);
    assert!(all(second).unwrap() == body[500_000..]);
    assert_eq!(server.seen(), ["all", "bytes=500000- if \"one\""]);
}

#[test]
fn one_can_wait_for_the_whole_file() {
    let body = body(17);
    let (server, bench) = (Server::new(&body, [Act::Break(10)]), Bench::new());
    let fetched = bench.fetcher().fetch(&server.wanted(Expected::Sum(sum(&body)))).unwrap();
    let mut file = fetched.whole.verified.unwrap()().unwrap();
    let mut bytes = Vec::new();
    io::Seek::seek(&mut file, io::SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert!(bytes == body);
}

#[test]
fn a_stop_is_heard() {
    let body = body(18);
    let (_never, held) = channel();
    let (server, bench) = (Server::new(&body, [Act::Hold(1000, held)]), Bench::new());
    let mut fetched = bench.fetcher().fetch(&server.wanted(Expected::Nothing)).unwrap();
    some(&mut fetched, 1000);
    bench.stop.store(true, Ordering::Relaxed);
    assert_eq!(all(fetched).unwrap_err().to_string(), "stopped");
}

#[test]
fn files_are_read_where_they_are() {
    let bench = Bench::new();
    let path = bench.folder.path().join("a b.img");
    std::fs::write(&path, b"abc").unwrap();
    let url = format!("file://{}", path.display().to_string().replace(' ', "%20"));
    for text in [path.display().to_string(), url] {
        let wanted = |expected| Wanted {
            name: "pi".to_owned(),
            location: Location::parse(&text).unwrap(),
            expected,
        };
        assert_eq!(bench.get(&wanted(Expected::Nothing)).unwrap(), b"abc");
        assert_eq!(bench.get(&wanted(Expected::Sum(sum(b"abc")))).unwrap(), b"abc");
        let error = bench.get(&wanted(Expected::Sum(sum(b"abd")))).unwrap_err().to_string();
        assert!(
            error.contains("a b.img is not what it should be: its SHA-256 is ba78"),
            "{error}"
        );
        assert!(
            bench
                .fetcher()
                .fetch(&wanted(Expected::Sum(sum(b"abd"))))
                .unwrap()
                .whole
                .verified
                .unwrap()()
            .is_err()
        );
    }
    assert!(path.exists(), "it is not the cache's to move");
    let wanted = |text: &str| Wanted {
        name: "pi".to_owned(),
        location: Location::parse(text).unwrap(),
        expected: Expected::Nothing,
    };
    assert!(
        bench
            .get(&wanted("/nonexistent"))
            .unwrap_err()
            .to_string()
            .contains("cannot read the image")
    );
    assert!(
        bench
            .get(&wanted("/dev/null"))
            .unwrap_err()
            .to_string()
            .contains("is not a regular file")
    );
}

#[test]
fn locations_are_told_apart() {
    for (text, expected) in [
        ("pi.img", Ok(Location::File("pi.img".into()))),
        ("/a/b", Ok(Location::File("/a/b".into()))),
        ("file:///a%20b", Ok(Location::File("/a b".into()))),
        ("file://localhost/a", Ok(Location::File("/a".into()))),
        ("HTTPS://example.org/a", Ok(Location::Url("https://example.org/a".into()))),
        ("file://host/a", Err("`file://host/a` names a file of another machine")),
        ("ftp://example.org/a", Err("`ftp:` is not understood")),
        ("https://", Err("`https://` is no URL: empty host")),
    ] {
        match (Location::parse(text), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }
    assert_eq!(Location::parse("https://a/b/c%2Bd.img?x=y").unwrap().file_name(), "c+d.img");
}
