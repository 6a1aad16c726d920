//! The reader of a download: it follows the file that grows, whoever appends to it, and goes on with the download itself when the other
//! run that did is gone.

use super::cache::Place;
use super::download::{self, Job, Progress, State};
use super::{Fetched, Known, stopped};
use crate::error::{Error, Result};
use crate::flash::decode::{Whole, carried};
use crate::flash::event::Event;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long to sleep before looking at another run's file again.
const LOOK: Duration = Duration::from_millis(50);

/// How often a download that ended while we looked is begun again.
const TRIES: u32 = 20;

/// Begins the download that `job` describes, or joins it.
pub(super) fn follow(job: Job) -> Result<Fetched> {
    let mut follow = Follow {
        job: Arc::new(job),
        file: None,
        at: 0,
        role: Role::Undecided,
        tries: 0,
        cached: false,
    };
    // So that what goes wrong at once is said before anything else begins.
    let size = follow.begin()?;
    let local = follow.cached;
    // A second reader of the same download, for what must see the end first.
    let again = Mutex::new(Some(follow.again()));
    let wait = move || {
        let again = again.into_inner().unwrap_or_else(|e| e.into_inner());
        let mut again = again.ok_or_else(|| io::Error::other("internal: waited for twice"))?;
        io::copy(&mut again, &mut io::sink())?;
        again
            .file
            .ok_or_else(|| io::Error::other("internal: there is no file"))?
            .try_clone()
    };
    Ok(Fetched {
        size,
        sha256: match &follow.job.sum {
            Some(sum @ super::Sum::Sha256(_)) => Some(sum.to_string()),
            _ => None,
        },
        reader: Box::new(follow),
        whole: Whole {
            here: None,
            verified: Some(Box::new(wait)),
        },
        local,
    })
}

/// Who appends.
enum Role {
    Undecided,
    /// A thread of ours.
    Own(Arc<Own>),
    /// Another run.
    Other,
    /// Nobody: it is whole, and what it should be.
    Whole,
}

/// Our download: it ends when nobody reads it any more.
struct Own {
    progress: Arc<Progress>,
    dropped: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Own {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
        let thread = self.thread.get_mut().unwrap_or_else(|e| e.into_inner()).take();
        // It looks at the flag several times a second.
        let _ = thread.map(JoinHandle::join);
    }
}

struct Follow {
    job: Arc<Job>,
    file: Option<Arc<File>>,
    at: u64,
    role: Role,
    tries: u32,
    /// It was whole already, and the server says that it still is.
    cached: bool,
}

impl Follow {
    /// Another reader from the first byte on.
    fn again(&self) -> Follow {
        Follow {
            job: self.job.clone(),
            file: None,
            at: 0,
            role: match &self.role {
                Role::Own(own) => Role::Own(own.clone()),
                _ => Role::Undecided,
            },
            tries: 0,
            cached: false,
        }
    }

    /// Waits until there is something to read, or nothing to hope for; the file's length, if it is known.
    fn begin(&mut self) -> Result<Option<u64>> {
        loop {
            if self.job.stop.load(Ordering::Relaxed) {
                return Err(stopped());
            }
            match &self.role {
                Role::Undecided => self.decide()?,
                Role::Own(own) => match own.progress.wait_for_answer() {
                    State::Failed(error) => return Err(error),
                    State::Whole { cached, .. } => {
                        self.cached = cached;
                        return Ok(own.progress.total());
                    }
                    State::Running { answered: true } => return Ok(own.progress.total()),
                    State::Running { answered: false } => {}
                },
                Role::Other => {
                    let validators = self.job.place.validators();
                    if validators.total.is_some() {
                        return Ok(validators.total);
                    }
                    self.look()?;
                    if matches!(self.role, Role::Other) {
                        std::thread::sleep(LOOK);
                    }
                }
                Role::Whole => {
                    let length = self.file.as_ref().and_then(|file| file.metadata().ok()).map(|m| m.len());
                    return Ok(length);
                }
            }
        }
    }

    /// Downloads if nobody else does.
    fn decide(&mut self) -> Result<()> {
        self.role = match self.job.place.lock()? {
            None => Role::Other,
            Some(lock) => {
                self.tries += 1;
                if self.tries > TRIES {
                    return Err(Error::state(format!(
                        "{}: other runs keep failing to download it",
                        self.job.name
                    )));
                }
                // Somebody may have come to its end just now.
                match known_file(&self.job.place, &self.job) {
                    Some(file) if self.at == 0 && self.job.known.is_none() && self.job.sum.is_some() => {
                        self.file = Some(Arc::new(file));
                        Role::Whole
                    }
                    _ => {
                        let progress = Arc::new(Progress::default());
                        let dropped = Arc::new(AtomicBool::new(false));
                        let thread = download::start(self.job.clone(), lock, progress.clone(), dropped.clone())?;
                        Role::Own(Arc::new(Own {
                            progress,
                            dropped,
                            thread: Mutex::new(Some(thread)),
                        }))
                    }
                }
            }
        };
        Ok(())
    }

    /// What has become of the file that another run appends to.
    fn look(&mut self) -> Result<()> {
        let path = self.job.place.part();
        let mine = self.file.as_deref().and_then(inode);
        let now = File::open(&path).ok();
        match (mine, now.as_ref().and_then(inode)) {
            (None, Some(_)) => self.file = now.map(Arc::new),
            (Some(mine), Some(now)) if mine == now => {
                // Perhaps nobody appends any more.
                self.decide()?;
            }
            (None, None) => self.decide()?,
            (Some(mine), _) => {
                let whole = known_file(&self.job.place, &self.job);
                if whole.as_ref().and_then(inode) == Some(mine) {
                    self.role = Role::Whole;
                } else if self.at == 0 {
                    self.file = None;
                } else {
                    return Err(Error::state(format!(
                        "{}: the other run that downloads it found it wrong, or changed on the server",
                        self.job.name
                    ))
                    .hint("run this again"));
                }
            }
        }
        Ok(())
    }

    fn available(&mut self, into: &mut [u8], until: u64) -> io::Result<usize> {
        let Some(file) = &self.file else {
            return Ok(0);
        };
        let most = usize::try_from(until.saturating_sub(self.at))
            .unwrap_or(usize::MAX)
            .min(into.len());
        let read = file.read_at(&mut into[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }

    /// As [`Read::read`] of our own download.
    fn own(&mut self, own: &Own, into: &mut [u8]) -> io::Result<usize> {
        let view = own.progress.view();
        if let Some(now) = view.file
            && !self.file.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, &now))
        {
            // One that we had opened before is the same, as long as nobody began anew.
            let same = self.file.is_none() || self.file.as_deref().and_then(inode) == inode(&now) || self.at <= view.same;
            if !same {
                let text = format!("{}: it changed on the server while it was being read", self.job.name);
                return Err(carried(Error::state(text).hint("run this again")));
            }
            self.file = Some(now);
        }
        let read = self.available(into, view.readable)?;
        if read > 0 {
            return Ok(read);
        }
        match view.state {
            State::Failed(error) => Err(carried(error)),
            State::Whole { .. } => {
                self.role = Role::Whole;
                Ok(0)
            }
            State::Running { .. } => {
                own.progress.wait_beyond(self.at);
                Ok(0)
            }
        }
    }
}

fn inode(file: &File) -> Option<(u64, u64)> {
    file.metadata().map(|m| (m.dev(), m.ino())).ok()
}

/// The whole file, if there is one by now that `job` would have made.
fn known_file(place: &Place, job: &Job) -> Option<File> {
    let known: Known = place.known()?;
    let compared = job.sum.as_ref().map(ToString::to_string);
    if compared.is_some() && known.compared != compared {
        return None;
    }
    File::open(place.whole(&known.sha256)).ok()
}

impl Read for Follow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            if self.job.stop.load(Ordering::Relaxed) {
                return Err(carried(stopped()));
            }
            let own = match &self.role {
                Role::Own(own) => Some(own.clone()),
                _ => None,
            };
            if let Some(own) = own {
                match self.own(&own, into)? {
                    0 => continue,
                    read => return Ok(read),
                }
            }
            let read = self.available(into, u64::MAX)?;
            if read > 0 {
                if matches!(self.role, Role::Other) {
                    self.job.listener.hear(&Event::Fetched {
                        name: self.job.name.clone(),
                        bytes: self.at,
                        of: self.job.place.validators().total,
                    });
                }
                return Ok(read);
            }
            match self.role {
                Role::Whole => return Ok(0),
                Role::Undecided => self.decide().map_err(carried)?,
                Role::Other => {
                    self.look().map_err(carried)?;
                    if matches!(self.role, Role::Other) {
                        std::thread::sleep(LOOK);
                    }
                }
                Role::Own(_) => {}
            }
        }
    }
}
