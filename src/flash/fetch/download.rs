//! A download: appended to a file, resumed after every break, compared at its end.
//!
//! It runs in a thread of its own, which holds the lock of its place in the cache and tells its [`Progress`] to those that read.

use super::cache::{self, Known, Place, Validators};
use super::sums::{Hasher, Sum};
use super::{Patience, mismatch, stopped};
use crate::error::{Error, Result};
use crate::flash::event::{Event, Listener};
use reqwest::header::{self, HeaderMap};
use reqwest::{Client, Response, StatusCode};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How soon a stop is noticed.
const TICK: Duration = Duration::from_millis(200);

/// How often bytes are told of.
const TELL: Duration = Duration::from_millis(100);

/// What must stay free on the disk, in bytes.
const SPARE: u64 = 64 << 20;

/// The longest checksum file, in bytes.
const SUMS: usize = 8 << 20;

/// The longest pause that a server may ask for.
const RETRY_AFTER: Duration = Duration::from_secs(120);

/// What to download.
pub(super) struct Job {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) place: Place,
    /// What it must be.
    pub(super) sum: Option<Sum>,
    /// What the cache has, where only the server can say whether that is still it.
    pub(super) known: Option<Known>,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) patience: Patience,
}

/// How far a download is.
#[derive(Clone)]
pub(super) enum State {
    Running {
        /// A server has answered.
        answered: bool,
    },
    /// All of it is here, and it is what it should be.
    Whole {
        /// It was here before.
        cached: bool,
    },
    Failed(Error),
}

/// What readers may know.
#[derive(Clone)]
pub(super) struct View {
    pub(super) state: State,
    /// The file that grows.
    pub(super) file: Option<Arc<File>>,
    /// As many of its bytes may be read.
    pub(super) readable: u64,
    /// As many of its bytes are those that the file before it had.
    pub(super) same: u64,
    total: Option<u64>,
}

/// How far a download is, for several readers.
pub(super) struct Progress {
    view: Mutex<View>,
    changed: Condvar,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress {
            view: Mutex::new(View {
                state: State::Running { answered: false },
                file: None,
                readable: 0,
                same: u64::MAX,
                total: None,
            }),
            changed: Condvar::new(),
        }
    }
}

impl Progress {
    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn set(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    pub(super) fn view(&self) -> View {
        self.lock().clone()
    }

    pub(super) fn total(&self) -> Option<u64> {
        self.lock().total
    }

    /// Waits a while for a server's first answer.
    pub(super) fn wait_for_answer(&self) -> State {
        let waiting = |view: &mut View| matches!(view.state, State::Running { answered: false });
        let guard = self.changed.wait_timeout_while(self.lock(), TICK, waiting);
        guard.unwrap_or_else(|e| e.into_inner()).0.state.clone()
    }

    /// Waits a while for more than `at` bytes, or the end.
    pub(super) fn wait_beyond(&self, at: u64) {
        let waiting = |view: &mut View| matches!(view.state, State::Running { .. }) && view.readable <= at;
        let _ = self.changed.wait_timeout_while(self.lock(), TICK, waiting);
    }
}

/// Starts to download. `lock` is given up when it ends; it does soon after `dropped` is set.
pub(super) fn start(job: Arc<Job>, lock: File, progress: Arc<Progress>, dropped: Arc<AtomicBool>) -> Result<JoinHandle<()>> {
    let work = move || {
        let result = run(&job, &progress, &dropped);
        // Before anybody is told: who tries again at once must get it.
        drop(lock);
        progress.set(|view| {
            view.state = match result {
                Ok(cached) => State::Whole { cached },
                Err(error) => State::Failed(error),
            };
        });
    };
    std::thread::Builder::new()
        .name("download".into())
        .spawn(work)
        .map_err(|e| Error::state(format!("the system refuses a thread: {e}")))
}

/// Whether it had been here already.
fn run(job: &Job, progress: &Progress, dropped: &AtomicBool) -> Result<bool> {
    let stop = || job.stop.load(Ordering::Relaxed) || dropped.load(Ordering::Relaxed);
    let mut download = Download {
        job,
        progress,
        stop: &stop,
        file: cache::part(&job.place.part(), false)?.into(),
        have: 0,
        validators: job.place.validators(),
        hasher: None,
        from_start: false,
        told: Instant::now(),
    };
    let reached = block_on(download.all())??;
    download.finish(reached)
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Error::state(format!("the system refuses a connection: {e}")))?;
    let result = runtime.block_on(future);
    // A look-up of a name that nobody answers must not hold up anything.
    runtime.shutdown_background();
    Ok(result)
}

fn client(patience: &Patience) -> Result<Client> {
    Client::builder()
        .user_agent(concat!("picloud/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(patience.silence)
        .read_timeout(patience.silence)
        .redirect(reqwest::redirect::Policy::limited(10))
        .build()
        .map_err(|e| Error::state(format!("cannot prepare a connection: {}", reason(&e))))
}

/// What a request failed of: the innermost cause says most.
fn reason(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Why an attempt ended.
enum Broken {
    /// Another one may do better, after the pause that the server asks for.
    Retry(String, Option<Duration>),
    Fatal(Error),
}

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken::Fatal(error)
    }
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Broken {
        match error.is_builder() || error.is_redirect() {
            true => Broken::Fatal(Error::state(reason(&error))),
            false => Broken::Retry(reason(&error), None),
        }
    }
}

/// Counts attempts and pauses between them.
struct Attempts<'a> {
    name: &'a str,
    patience: &'a Patience,
    listener: &'a dyn Listener,
    in_vain: u32,
}

impl Attempts<'_> {
    /// After an attempt that ended; `Err` when there have been enough.
    async fn pause(&mut self, why: String, asked: Option<Duration>, stop: &dyn Fn() -> bool) -> Result<()> {
        self.in_vain += 1;
        if self.in_vain >= self.patience.attempts {
            return Err(
                Error::unreachable(format!("{}: {} attempts brought nothing: {why}", self.name, self.in_vain))
                    .hint("what is here is kept: the next run goes on from there"),
            );
        }
        self.listener.hear(&Event::Retrying {
            name: self.name.to_owned(),
            attempt: self.in_vain,
            why,
        });
        let doubled = self.patience.pause.saturating_mul(1 << (self.in_vain - 1).min(16));
        // Several machines that were cut off at the same moment should not come back at the same moment.
        let mut random = [0];
        let _ = getrandom::fill(&mut random);
        let spread = 0.75 + f64::from(random[0]) / 1024.0;
        let own = doubled.min(self.patience.longest).mul_f64(spread);
        let until = Instant::now() + own.max(asked.unwrap_or_default().min(RETRY_AFTER));
        while Instant::now() < until {
            if stop() {
                return Err(stopped());
            }
            tokio::time::sleep(TICK.min(until.saturating_duration_since(Instant::now()))).await;
        }
        Ok(())
    }
}

/// `future`, unless there is a stop before it is ready.
async fn unless<T>(stop: &dyn Fn() -> bool, future: impl Future<Output = T>) -> Result<T> {
    let mut future = std::pin::pin!(future);
    loop {
        match tokio::time::timeout(TICK, &mut future).await {
            Ok(ready) => return Ok(ready),
            Err(_) if stop() => return Err(stopped()),
            Err(_) => {}
        }
    }
}

/// An answer that is no success: final, or worth another attempt.
fn refused(response: &Response) -> Broken {
    let status = response.status();
    let after = response.headers().get(header::RETRY_AFTER);
    let after = after
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    let text = format!("the server answers {status}");
    if passing {
        return Broken::Retry(text, after);
    }
    let error = Error::unreachable(format!("{}: {text}", response.url()));
    Broken::Fatal(match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            error.hint("vendors move old images: look for the current URL, and name it in images/")
        }
        _ => error,
    })
}

/// A checksum file, and the URL that it came from in the end.
pub(super) struct Text {
    pub(super) text: Vec<u8>,
    pub(super) url: String,
}

/// Gets a small file into memory.
pub(super) fn text(url: &str, listener: &dyn Listener, stop: &AtomicBool, patience: &Patience) -> Result<Text> {
    let stop = || stop.load(Ordering::Relaxed);
    let client = client(patience)?;
    let once = async || -> Result<Text, Broken> {
        let mut response = unless(&stop, client.get(url).send()).await??;
        if !response.status().is_success() {
            return Err(refused(&response));
        }
        let mut text = Vec::new();
        while let Some(bytes) = unless(&stop, response.chunk()).await?? {
            text.extend_from_slice(&bytes);
            if text.len() > SUMS {
                return Err(Error::state(format!("{url} is far too long for a checksum file")).into());
            }
        }
        Ok(Text {
            text,
            url: response.url().to_string(),
        })
    };
    let mut attempts = Attempts {
        name: url,
        patience,
        listener,
        in_vain: 0,
    };
    block_on(async {
        loop {
            match once().await {
                Ok(text) => return Ok(text),
                Err(Broken::Fatal(error)) => return Err(error),
                Err(Broken::Retry(why, after)) => attempts.pause(why, after, &stop).await?,
            }
        }
    })?
}

/// How a download came to its end.
enum Reached {
    /// All bytes are in the `.part`.
    End,
    /// The server says that what the cache has is still it.
    Unchanged,
}

struct Download<'a> {
    job: &'a Job,
    progress: &'a Progress,
    stop: &'a dyn Fn() -> bool,
    file: Arc<File>,
    /// Bytes in the file that were hashed.
    have: u64,
    validators: Validators,
    /// Of the first `have` bytes.
    hasher: Option<Hasher>,
    /// Ask for the whole file, as a part of it would be one of another.
    from_start: bool,
    told: Instant,
}

impl Download<'_> {
    async fn all(&mut self) -> Result<Reached> {
        let client = client(&self.job.patience)?;
        let mut attempts = Attempts {
            name: &self.job.name,
            patience: &self.job.patience,
            listener: &*self.job.listener,
            in_vain: 0,
        };
        loop {
            let before = self.length()?;
            match self.attempt(&client).await {
                Ok(reached) => return Ok(reached),
                Err(Broken::Fatal(error)) => return Err(error),
                Err(Broken::Retry(why, after)) => {
                    if self.length()? > before {
                        attempts.in_vain = 0;
                    }
                    attempts.pause(why, after, self.stop).await?;
                }
            }
        }
    }

    fn length(&self) -> Result<u64> {
        self.file.metadata().map(|m| m.len()).map_err(|e| self.cannot_write(&e))
    }

    fn cannot_write(&self, error: &std::io::Error) -> Error {
        Error::state(format!("cannot write {}: {error}", self.job.place.part().display()))
    }

    async fn attempt(&mut self, client: &Client) -> Result<Reached, Broken> {
        let there = self.length()?;
        if there > 0 && self.validators.total == Some(there) && !self.from_start {
            self.hash_what_is_there(there)?;
            self.readable(there);
            return Ok(Reached::End);
        }
        let mut request = client.get(&self.job.url).header(header::ACCEPT_ENCODING, "identity");
        // Without a validator, only a checksum could tell whether both parts are of one file.
        let resume = there > 0 && !self.from_start && (self.validators.if_range().is_some() || self.job.sum.is_some());
        if resume {
            request = request.header(header::RANGE, format!("bytes={there}-"));
            if let Some(validator) = self.validators.if_range() {
                request = request.header(header::IF_RANGE, validator);
            }
        } else if there == 0
            && let Some(known) = &self.job.known
        {
            if let Some(tag) = &known.validators.etag {
                request = request.header(header::IF_NONE_MATCH, tag);
            }
            if let Some(date) = &known.validators.last_modified {
                request = request.header(header::IF_MODIFIED_SINCE, date);
            }
        }
        let response = unless(self.stop, request.send()).await??;
        match response.status() {
            StatusCode::OK => self.whole_again(response, there).await,
            StatusCode::PARTIAL_CONTENT if resume => self.appended(response, there).await,
            StatusCode::NOT_MODIFIED if self.job.known.is_some() => Ok(Reached::Unchanged),
            StatusCode::RANGE_NOT_SATISFIABLE if resume => {
                self.from_start = true;
                Err(Broken::Retry(
                    "the server's file is shorter than what is here".to_owned(),
                    None,
                ))
            }
            status if status.is_success() => Err(Broken::Retry(format!("the server answers {status}"), None)),
            _ => Err(refused(&response)),
        }
    }

    /// The rest of a file of which the first `there` bytes are here.
    async fn appended(&mut self, response: Response, there: u64) -> Result<Reached, Broken> {
        let range = content_range(response.headers());
        let now = validators(response.headers(), range.and_then(|(_, total)| total));
        let other = |one: &Option<String>, two: &Option<String>| one.is_some() && two.is_some() && one != two;
        let changed = other(&self.validators.etag, &now.etag)
            || other(&self.validators.last_modified, &now.last_modified)
            || (self.validators.total.is_some() && now.total.is_some() && self.validators.total != now.total);
        if changed || range.is_none_or(|(start, _)| start != there) {
            self.from_start = true;
            return Err(Broken::Retry("the file on the server is another one now".to_owned(), None));
        }
        self.validators.total = self.validators.total.or(now.total);
        self.remember(there)?;
        self.hash_what_is_there(there)?;
        self.readable(there);
        self.append(response).await
    }

    /// The whole file again, of which the first `there` bytes may be here: they are compared as they come.
    async fn whole_again(&mut self, mut response: Response, there: u64) -> Result<Reached, Broken> {
        self.from_start = false;
        self.validators = validators(response.headers(), response.content_length());
        self.hasher = Some(Hasher::of(self.job.sum.as_ref()));
        self.have = 0;
        let total = self.validators.total;
        self.warn_of_plain(&response);
        self.remember(there)?;
        self.progress.set(|view| {
            view.total = total;
            if matches!(view.state, State::Running { .. }) {
                view.state = State::Running { answered: true };
            }
        });
        let mut old = vec![0; 64 << 10];
        while self.have < there {
            let bytes = match unless(self.stop, response.chunk()).await?? {
                Some(bytes) => bytes,
                None if total.is_none() => {
                    self.anew(self.have)?;
                    return Ok(Reached::End);
                }
                None => return Err(Broken::Retry("the connection ended too early".to_owned(), None)),
            };
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let most = rest
                    .len()
                    .min(old.len())
                    .min(usize::try_from(there - self.have).unwrap_or(usize::MAX));
                if most == 0 {
                    break;
                }
                let read = self
                    .file
                    .read_at(&mut old[..most], self.have)
                    .map_err(|e| self.cannot_write(&e))?;
                let same = rest.iter().zip(&old[..read]).take_while(|(new, old)| new == old).count();
                self.take(&rest[..same]);
                rest = &rest[same..];
                if same < most {
                    self.anew(self.have)?;
                    self.write(rest)?;
                    return self.append(response).await;
                }
            }
            self.write(rest)?;
        }
        if total.is_some_and(|total| total < self.have) {
            self.anew(0)?;
            return Err(Broken::Retry(
                "the server's file is shorter than what is here".to_owned(),
                None,
            ));
        }
        self.append(response).await
    }

    /// Goes on in a new file, with the first `same` bytes of the old one: somebody may be reading that.
    fn anew(&mut self, same: u64) -> Result<()> {
        let old = self.file.clone();
        let mut new = cache::part(&self.job.place.part(), true)?;
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        while at < same {
            let most = piece.len().min(usize::try_from(same - at).unwrap_or(usize::MAX));
            old.read_exact_at(&mut piece[..most], at).map_err(|e| self.cannot_write(&e))?;
            new.write_all(&piece[..most]).map_err(|e| self.cannot_write(&e))?;
            at += most as u64;
        }
        self.file = new.into();
        if same < self.have {
            self.have = 0;
            self.hasher = Some(Hasher::of(self.job.sum.as_ref()));
        }
        let file = self.file.clone();
        self.progress.set(|view| {
            view.file = Some(file);
            view.same = same;
            view.readable = same;
        });
        Ok(())
    }

    async fn append(&mut self, mut response: Response) -> Result<Reached, Broken> {
        let total = self.validators.total;
        while let Some(bytes) = unless(self.stop, response.chunk()).await?? {
            self.write(&bytes)?;
        }
        match total {
            Some(total) if self.have < total => Err(Broken::Retry("the connection ended too early".to_owned(), None)),
            _ => Ok(Reached::End),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        (&*self.file).write_all(bytes).map_err(|e| self.cannot_write(&e))?;
        self.take(bytes);
        Ok(())
    }

    /// `bytes` are in the file, behind what was hashed.
    fn take(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.have += bytes.len() as u64;
        self.readable(self.have);
        if self.told.elapsed() >= TELL {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told = Instant::now();
        self.job.listener.hear(&Event::Fetched {
            name: self.job.name.clone(),
            bytes: self.have,
            of: self.validators.total,
        });
    }

    /// The first `bytes` may be read.
    fn readable(&mut self, bytes: u64) {
        let (file, total) = (self.file.clone(), self.validators.total);
        self.progress.set(|view| {
            view.file = Some(file);
            view.readable = view.readable.max(bytes);
            view.total = total;
            if matches!(view.state, State::Running { .. }) {
                view.state = State::Running { answered: true };
            }
        });
    }

    fn hash_what_is_there(&mut self, there: u64) -> Result<()> {
        if self.have == there && self.hasher.is_some() {
            return Ok(());
        }
        let mut hasher = Hasher::of(self.job.sum.as_ref());
        let mut piece = vec![0; 1 << 20];
        let mut at = 0;
        while at < there {
            if (self.stop)() {
                return Err(stopped());
            }
            let most = piece.len().min(usize::try_from(there - at).unwrap_or(usize::MAX));
            self.file
                .read_exact_at(&mut piece[..most], at)
                .map_err(|e| self.cannot_write(&e))?;
            hasher.update(&piece[..most]);
            at += most as u64;
        }
        self.hasher = Some(hasher);
        self.have = there;
        Ok(())
    }

    /// Keeps what the server said of the file, before its bytes: they are of no use without.
    fn remember(&self, there: u64) -> Result<()> {
        self.space(self.validators.total.map(|total| total.saturating_sub(there)))?;
        self.job.place.set_validators(&self.validators)
    }

    /// Whether `wanted` more bytes have room on the disk.
    fn space(&self, wanted: Option<u64>) -> Result<()> {
        let path = self.job.place.part();
        let Some((wanted, free)) = wanted.zip(crate::flash::free_space(&path)) else {
            return Ok(());
        };
        if free >= wanted.saturating_add(SPARE) {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Err(Error::state(format!(
            "{}: {} MiB are yet to come, and the disk of {} has {} MiB free",
            self.job.name,
            mib(wanted),
            path.parent().unwrap_or(&path).display(),
            mib(free)
        ))
        .hint("make room there, or name another folder by XDG_CACHE_HOME"))
    }

    fn warn_of_plain(&self, response: &Response) {
        if self.job.sum.is_none() && response.url().scheme() == "http" {
            self.job.listener.hear(&Event::Warning {
                card: None,
                message: format!(
                    "{}: it comes over plain http and has no checksum: nobody vouches for it",
                    self.job.name
                ),
            });
        }
    }

    fn finish(mut self, reached: Reached) -> Result<bool> {
        let place = &self.job.place;
        if let (Reached::Unchanged, Some(known)) = (reached, &self.job.known) {
            let path = place.whole(&known.sha256);
            let file = File::open(&path).map_err(|e| Error::state(format!("cannot read {}: {e}", path.display())))?;
            let length = file.metadata().map_or(0, |m| m.len());
            let _ = std::fs::remove_file(place.part());
            self.progress.set(|view| {
                view.file = Some(Arc::new(file));
                view.same = 0;
                view.readable = length;
                view.total = Some(length);
            });
            return Ok(true);
        }
        self.tell();
        let hasher = self.hasher.take().unwrap_or_else(|| Hasher::of(self.job.sum.as_ref()));
        let (sha256, got) = hasher.finish();
        let sha256 = sha256.to_string();
        let from = place.part();
        let renamed = |to: &std::path::Path| {
            std::fs::rename(&from, to)
                .map_err(|e| Error::state(format!("cannot rename {} to {}: {e}", from.display(), to.display())))
        };
        place.forget();
        if let Some(sum) = self.job.sum.as_ref().filter(|sum| **sum != got) {
            let bad = place.bad(&sha256);
            renamed(&bad)?;
            place.clear();
            let wrong = format!("{} is not what it should be", self.job.url);
            return Err(mismatch(&wrong, sum, &got).hint(format!("what was downloaded is kept as {}", bad.display())));
        }
        place.set_known(&Known {
            url: self.job.url.clone(),
            sha256: sha256.clone(),
            compared: self.job.sum.as_ref().map(ToString::to_string),
            validators: self.validators.clone(),
        })?;
        renamed(&place.whole(&sha256))?;
        place.clear();
        let have = self.have;
        self.progress.set(|view| view.total = Some(have));
        Ok(false)
    }
}

fn validators(headers: &HeaderMap, total: Option<u64>) -> Validators {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Validators {
        etag: text(header::ETAG),
        last_modified: text(header::LAST_MODIFIED),
        total,
    }
}

/// First byte and whole length, out of `bytes 5-9/10`.
fn content_range(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}
