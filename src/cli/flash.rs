//! `picloud flash`: cards that boot, are who they should be, and are proven written.

use super::app::{App, Out};
use super::card::DiskArgs;
use super::land;
use super::prompt::Terminal;
use super::screen::{Screen, interrupts};
use super::target::TargetArgs;
use crate::error::{Error, Result};
use crate::flash::card::{Entry, History, slowed};
use crate::flash::catalogue::{Catalogue, Image};
use crate::flash::device::open::Confirmed;
use crate::flash::device::rules::{self, Allow};
use crate::flash::device::{self, Device, human, wait};
use crate::flash::fetch::{Fetcher, cache_folder};
use crate::flash::identity::detect::Named;
use crate::flash::identity::{Given, Identity, hash_password, pin};
use crate::flash::job::{self, Manner, Order, Place, Source};
use crate::flash::write::{Done, Elevate, block_size, parse_block_size};
use crate::inventory::{FirstBoot, Minion};
use crate::project::{Cache, Project};
use crate::report::{Table, duration, plural, safe};
use crate::ssh::Prompt;
use indexmap::IndexMap;
use serde_json::json;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Write cards for minions: the image, verified, and who they are.
///
/// Brings the image of each minion, writes it to a card, reads it back, and puts on it what makes it this minion at its first boot:
/// host name, user, keys, network, and a host key that is known from now on. Without --device and --to it asks for the card that is
/// put in.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which minions: ids, globs (pi*), ranges (pi[0-13]) or compound expressions; each gets a card, in this order.
    #[arg(required = true, value_name = "TARGET")]
    target: Vec<String>,
    /// The disk for each minion, in their order: /dev/sdb
    #[arg(short, long, value_name = "DEVICE", conflicts_with_all = ["to", "wait"])]
    device: Vec<PathBuf>,
    /// Write an image file instead of a card; {id} in its name is the minion.
    #[arg(long, value_name = "FILE", conflicts_with = "wait")]
    to: Option<String>,
    /// Card after card: put in, write, verify, take out, next.
    #[arg(long)]
    wait: bool,
    /// This image rather than the minion's: a name of the catalogue, a file or a URL.
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// How the system is told who it is, rather than what the image shows: cloud-init, firstrun, ...
    #[arg(long, value_name = "METHOD", value_parser = first_boot)]
    first_boot: Option<FirstBoot>,
    /// Only say what would be written where.
    #[arg(long)]
    test: bool,
    /// Ask nothing.
    #[arg(short, long)]
    yes: bool,
    /// Write all, without looking at what the card holds already.
    #[arg(long)]
    full: bool,
    /// Bytes in one request (4M, 512k), rather than what suits the card.
    #[arg(long, value_name = "SIZE")]
    block_size: Option<String>,
    /// Replace the image file if it is there.
    #[arg(long, requires = "to")]
    force: bool,
    #[command(flatten)]
    disk: DiskArgs,
}

fn first_boot(text: &str) -> std::result::Result<FirstBoot, String> {
    FirstBoot::parse(text).ok_or_else(|| format!("the methods are {}", FirstBoot::ALL.map(FirstBoot::name).join(", ")))
}

/// A minion with the image that its card gets.
struct Wanted<'a> {
    minion: &'a Minion,
    image: Image,
}

pub fn run(app: &App, args: Args) -> Result<u8> {
    let (project, minions) = minions(app, &args)?;
    let wanted = wanted(&project, &minions, args.image.as_deref())?;
    let asked = args.block_size.as_deref().map(parse_block_size).transpose()?;
    let elevate = args.disk.elevate()?;
    let chosen = chosen(&args, &minions)?;
    // Whatever is wrong with any of them is said before anything is touched.
    let terminal = Terminal { bars: app.multi() };
    let made = wanted.iter().map(|wanted| identity(wanted.minion, &project, &terminal));
    let (identities, errors): (Vec<_>, Vec<_>) = made.partition(Result::is_ok);
    Error::all(errors.into_iter().filter_map(Result::err)).map_or(Ok(()), Err)?;
    let mut identities: Vec<Identity> = identities.into_iter().flatten().collect();

    let stop = interrupts(app, "stopping: a card under way stays recognisably unfinished")?;
    let screen = Screen::new(app);
    let flasher = Flasher {
        app,
        args: &args,
        project: &project,
        terminal,
        fetcher: Fetcher::new(cache_folder(), screen.listener.clone(), stop.clone()),
        screen,
        stop,
        elevate,
        block_size: asked,
    };
    if args.test {
        return flasher.tell(&wanted, &chosen);
    }
    match chosen {
        Chosen::Later => flasher.one_by_one(&wanted, &mut identities),
        chosen => flasher.at_once(&wanted, identities, &chosen),
    }
}

/// Who a minion is to be, with a host key made now.
fn identity(minion: &Minion, project: &Project, terminal: &Terminal) -> Result<Identity> {
    let password = match Identity::asks_password(minion) {
        true => {
            let typed = terminal.ask(&format!("Password for the account on {}: ", minion.id), false);
            let typed = typed.ok_or_else(|| Error::usage("nobody is there to type the password").minion(minion.id.as_str()))?;
            Some(hash_password(&typed)?)
        }
        false => None,
    };
    let home = std::env::home_dir().unwrap_or_default();
    Identity::new(
        minion,
        Given {
            home: &home,
            project: project.root.as_deref().unwrap_or(&home),
            password,
            host_key: pin::make(project, minion)?,
        },
    )
}

/// Where the cards are.
enum Chosen {
    Devices(Vec<(Device, Option<String>)>),
    Files(Vec<PathBuf>),
    /// Those that will be put in.
    Later,
}

fn minions(app: &App, args: &Args) -> Result<(Project, Vec<Minion>)> {
    let mut all: IndexMap<String, Minion> = IndexMap::new();
    let mut found = None;
    for target in &args.target {
        let (project, _, minions) = land::minions(app, &TargetArgs::default(), Some(target), false)?;
        all.extend(minions.into_iter().map(|minion| (minion.id.to_string(), minion)));
        found = Some(project);
    }
    match found {
        Some(project) => Ok((project, all.into_values().collect())),
        None => Err(Error::usage("name the minions that cards are written for")),
    }
}

/// The image of each minion.
fn wanted<'a>(project: &Project, minions: &'a [Minion], named: Option<&str>) -> Result<Vec<Wanted<'a>>> {
    let catalogue = Catalogue::load(project)?;
    let given = named.map(|named| catalogue.named(named)).transpose()?;
    let mut errors = Vec::new();
    let mut wanted = Vec::new();
    for minion in minions {
        let image = match (&given, &minion.image) {
            (Some(image), _) => Ok(image.clone()),
            (None, Some(name)) => catalogue
                .get(name)
                .cloned()
                .map_err(|e| e.at(minion.at).minion(minion.id.as_str())),
            (None, None) => Err(Error::usage("no image is named for it")
                .at(minion.at)
                .minion(minion.id.as_str())
                .hint("write `image: NAME` in the inventory, or give `--image NAME`; `picloud image list` shows what there is")),
        };
        match image {
            Ok(image) => wanted.push(Wanted { minion, image }),
            Err(error) => errors.push(error),
        }
    }
    Error::all(errors).map_or(Ok(wanted), Err)
}

fn chosen(args: &Args, minions: &[Minion]) -> Result<Chosen> {
    if let Some(to) = &args.to {
        if minions.len() > 1 && !to.contains("{id}") {
            return Err(Error::usage(format!("`--to {to}` is one file for {} minions", minions.len()))
                .hint("`{id}` in it stands for the minion: `--to 'cards/{id}.img'`"));
        }
        let paths = minions.iter().map(|minion| to.replace("{id}", minion.id.as_str()).into());
        return Ok(Chosen::Files(paths.collect()));
    }
    if args.device.is_empty() {
        return Ok(Chosen::Later);
    }
    if args.device.len() != minions.len() {
        let ids: Vec<&str> = minions.iter().map(|minion| minion.id.as_str()).collect();
        return Err(Error::usage(format!(
            "{} for {} ({})",
            plural(args.device.len(), "device"),
            plural(minions.len(), "minion"),
            ids.join(", ")
        ))
        .hint("give `--device` once for each minion, in their order; `--wait` takes card after card"));
    }
    let (found, errors): (Vec<_>, Vec<_>) = args.device.iter().map(|path| device::find(path)).partition(Result::is_ok);
    Error::all(errors.into_iter().filter_map(Result::err)).map_or(Ok(()), Err)?;
    let found: Vec<(Device, Option<String>)> = found.into_iter().flatten().collect();
    for (n, (device, _)) in found.iter().enumerate() {
        if found[..n].iter().any(|(before, _)| before.number == device.number) {
            return Err(
                Error::usage(format!("{} is named twice", device.path.display())).hint("each minion needs a card of its own")
            );
        }
    }
    Ok(Chosen::Devices(found))
}

struct Flasher<'a> {
    app: &'a App,
    args: &'a Args,
    project: &'a Project,
    terminal: Terminal,
    fetcher: Fetcher,
    screen: Screen,
    stop: Arc<AtomicBool>,
    elevate: Elevate,
    block_size: Option<usize>,
}

impl Flasher<'_> {
    fn allow(&self) -> Allow {
        self.args.disk.allow(!self.args.device.is_empty())
    }

    /// What would be done.
    fn tell(&self, wanted: &[Wanted], chosen: &Chosen) -> Result<u8> {
        let mut table = Table::new(&["minion", "image", "to"], &[]);
        let mut errors = Vec::new();
        let mut told = Vec::new();
        for (n, one) in wanted.iter().enumerate() {
            let place = match chosen {
                Chosen::Devices(devices) => {
                    let device = &devices[n].0;
                    errors.extend(rules::judge(device, 0, self.allow()).err());
                    device.line()
                }
                Chosen::Files(files) => files[n].display().to_string(),
                Chosen::Later => "the card that will be put in".to_owned(),
            };
            let here = match self.fetcher.here(&one.image.wanted()) {
                Some(_) => "is here",
                None => "will be downloaded",
            };
            told.push(json!({"minion": one.minion.id.as_str(), "image": one.image.name, "here": here == "is here", "to": place}));
            table.row([one.minion.id.to_string(), format!("{} ({here})", one.image.name), place]);
        }
        self.app
            .result(|| json!(told), || table.draw(self.app.paper()) + "Nothing was touched.\n");
        Error::all(errors).map_or(Ok(0), Err)
    }

    /// `room`: the card's size in bytes, where it is known.
    fn open(&self, image: &Image, room: Option<u64>) -> Result<Source> {
        let listener = &*self.screen.listener;
        job::open(image, &self.fetcher, &cache_folder(), room, listener, &self.stop)
    }

    fn manner(&self, image: &Image) -> Manner {
        Manner {
            first_boot: match (self.args.first_boot, image.first_boot) {
                (Some(method), _) => Some(Named::User(method)),
                (None, method) => method.map(Named::Catalogue),
            },
            full: self.args.full,
            eject: self.args.wait,
            elevate: self.elevate.clone(),
            boards: image.boards.clone(),
            architectures: image.architectures.clone(),
        }
    }

    /// Confirms that `device` may be overwritten with an image of `size` bytes.
    fn place(&self, device: &Device, size: Option<u64>) -> Result<Place> {
        let mut allow = self.allow();
        // A desktop mounts cards as they are put in; the question that follows says so.
        allow.unmount |= !self.args.yes && self.args.device.is_empty();
        rules::judge(device, size.unwrap_or(0), allow)?;
        Ok(Place::Device {
            confirmed: Confirmed::of(device, size.unwrap_or(0), allow),
            block_size: block_size(Some(device), self.block_size).0,
        })
    }

    fn ask(&self, question: &str) -> Result<()> {
        if self.args.yes {
            return Ok(());
        }
        match self.terminal.yes(question) {
            Some(true) => Ok(()),
            Some(false) => Err(Error::usage("not confirmed; nothing was written")),
            None => {
                Err(Error::usage("nobody is there to confirm that these cards may be overwritten").hint("`--yes` asks nothing"))
            }
        }
    }

    /// All cards at once; minions with the same image share its decoding. One that is made for its card is the same on cards of one size.
    fn at_once(&self, wanted: &[Wanted], identities: Vec<Identity>, chosen: &Chosen) -> Result<u8> {
        let size = |n: usize| match chosen {
            Chosen::Devices(devices) => Some(devices[n].0.size),
            Chosen::Files(_) | Chosen::Later => None,
        };
        let mut by_image: IndexMap<(&str, Option<u64>), Vec<usize>> = IndexMap::new();
        for (n, one) in wanted.iter().enumerate() {
            let room = size(n).filter(|_| one.image.fits_card());
            by_image.entry((&one.image.name, room)).or_default().push(n);
        }
        let mut sources = Vec::new();
        let mut places: Vec<Option<(Place, String)>> = wanted.iter().map(|_| None).collect();
        let mut errors = Vec::new();
        for members in by_image.values() {
            let room = members.iter().filter_map(|n| size(*n)).min();
            let source = self.open(&wanted[members[0]].image, room)?;
            for n in members {
                let place = match chosen {
                    Chosen::Devices(devices) => self
                        .place(&devices[*n].0, source.size)
                        .map(|place| (place, devices[*n].0.line())),
                    Chosen::Files(files) => Ok((
                        Place::File {
                            path: files[*n].clone(),
                            force: self.args.force,
                        },
                        files[*n].display().to_string(),
                    )),
                    Chosen::Later => Err(Error::usage("internal: no place was chosen")),
                };
                match place {
                    Ok(place) => places[*n] = Some(place),
                    Err(error) => errors.push(error.minion(wanted[*n].minion.id.as_str())),
                }
            }
            sources.push(source);
        }
        Error::all(errors).map_or(Ok(()), Err)?;
        self.screen.clear();
        if let Chosen::Devices(devices) = chosen {
            for (n, (device, note)) in devices.iter().enumerate() {
                self.show(wanted[n].minion, &wanted[n].image, device, note.as_deref());
            }
            self.ask(&format!("Overwrite {}?", plural(devices.len(), "card")))?;
        }
        let mut identities: Vec<Option<Identity>> = identities.into_iter().map(Some).collect();
        let mut errors = Vec::new();
        for (members, source) in by_image.values().zip(sources) {
            let orders = members.iter().filter_map(|n| {
                let (place, _) = places[*n].take()?;
                Some(Order {
                    minion: wanted[*n].minion.clone(),
                    identity: identities[*n].take()?,
                    name: wanted[*n].minion.id.to_string(),
                    place,
                })
            });
            let orders: Vec<Order> = orders.collect();
            errors.extend(self.write(source, &orders, &self.manner(&wanted[members[0]].image)));
        }
        self.end(errors, wanted)
    }

    /// Card after card, as they are put in.
    fn one_by_one(&self, wanted: &[Wanted], identities: &mut Vec<Identity>) -> Result<u8> {
        if !self.args.wait && wanted.len() > 1 {
            return Err(Error::usage(format!("{} minions and no card is named", wanted.len()))
                .hint("give `--device` for each, `--to 'FILE-{id}.img'`, or `--wait` for card after card"));
        }
        if !self.args.yes && !std::io::stderr().is_terminal() {
            return Err(Error::usage("nobody is there to put in a card").hint("name it: `--device /dev/sdb`"));
        }
        let mut asked = false;
        let mut errors = Vec::new();
        for (one, identity) in wanted.iter().zip(identities.drain(..)) {
            let early = (!one.image.fits_card()).then(|| self.open(&one.image, None)).transpose()?;
            let size = early.as_ref().and_then(|source| source.size).unwrap_or(0);
            let before = wait::Present::of(&device::list()?);
            self.screen.clear();
            let least = match size {
                0 => String::new(),
                size => format!(" (at least {})", human(size)),
            };
            self.app.note(&format!("Put in the card for {}{least} ...", one.minion.id));
            let pause = || std::thread::sleep(wait::PAUSE);
            let inserted = wait::for_insert(before, |device| rules::offer(device, size), device::list, pause, &self.stop)?;
            let Some(device) = inserted else {
                return Err(Error::state("stopped; nothing was written"));
            };
            let place = self.place(&device, early.as_ref().and_then(|source| source.size))?;
            self.show(one.minion, &one.image, &device, None);
            // A bench of fourteen cards is asked once: what is put in from then on is meant.
            if !asked {
                self.ask(match self.args.wait {
                    true => "Overwrite this card, and those that are put in next?",
                    false => "Overwrite this card?",
                })?;
                asked = true;
            }
            // What is made for its card takes a while: the question comes before.
            let source = match early {
                Some(source) => source,
                None => self.open(&one.image, Some(device.size))?,
            };
            let order = Order {
                minion: one.minion.clone(),
                identity,
                place,
                name: one.minion.id.to_string(),
            };
            errors.extend(self.write(source, &[order], &self.manner(&one.image)));
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            if self.args.wait {
                self.app.note(&format!("{}: take the card out", one.minion.id));
                wait::for_removal(&device, device::list, pause, &self.stop)?;
            }
        }
        self.end(errors, wanted)
    }

    fn show(&self, minion: &Minion, image: &Image, device: &Device, note: Option<&str>) {
        self.app
            .note(&format!("{}  gets {} on {}", minion.id, image.name, safe(&device.line())));
        for note in note
            .into_iter()
            .map(str::to_owned)
            .chain(device.uses.iter().map(|used| used.to_string()))
        {
            self.app.note(&format!("    {}", safe(&note)));
        }
    }

    /// Writes, pins what was written, and tells each card's outcome; what went wrong is returned.
    fn write(&self, source: Source, orders: &[Order], manner: &Manner) -> Vec<Error> {
        let results = job::run(source, orders, manner, &*self.screen.listener, &self.stop);
        self.screen.clear();
        let mut errors = Vec::new();
        for (order, result) in orders.iter().zip(results) {
            let pinned = result.and_then(|done| {
                if manner.first_boot != Some(Named::User(FirstBoot::None)) {
                    pin::pin(self.project, &order.minion, &order.identity.host_key)?;
                }
                Ok(done)
            });
            match pinned {
                Ok(done) => {
                    self.done(order, &done);
                    self.remember(order, &done);
                }
                Err(error) => errors.push(error.minion(&order.name)),
            }
        }
        errors
    }

    /// Keeps how fast the card was, and says so when it has become slow.
    fn remember(&self, order: &Order, done: &Done) {
        let Place::Device { confirmed, .. } = &order.place else {
            return;
        };
        let Ok((device, _)) = device::find(&confirmed.path) else {
            return;
        };
        let Some(card) = device.identity() else { return };
        let kept = || -> Result<Vec<Entry>> {
            let history = History::at(Cache::of_user().folder("cards")?);
            let entry = Entry {
                when: std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
                write: done.write_rate,
                read: done.read_rate,
                small_synchronous: None,
            };
            history.add(&card, &entry)?;
            Ok(history.of(&card))
        };
        match kept() {
            Ok(entries) => {
                if let Some(words) = slowed(&entries) {
                    self.app.warn(&Error::usage(words).minion(&order.name));
                }
            }
            // What is not remembered is no reason to call the card bad.
            Err(error) => self.app.warn(&error),
        }
    }

    fn done(&self, order: &Order, done: &Done) {
        if self.app.global.out != Out::Text {
            let mut json = serde_json::to_value(done).unwrap_or_default();
            json["event"] = json!("done");
            json["card"] = json!(order.name);
            self.app.print(&format!("{json}\n"));
            return;
        }
        let rate = done
            .write_rate
            .map_or_else(String::new, |rate| format!(" at {}/s", human(rate as u64)));
        let mut parts = vec![format!("{} written{rate}", human(done.written))];
        if done.equal > 0 {
            let equal = human(done.equal);
            parts.push(match order.place {
                Place::Device { .. } => format!("{equal} were there already"),
                Place::File { .. } => format!("{equal} empty"),
            });
        }
        if done.skipped > 0 {
            parts.push(format!("{} free", human(done.skipped)));
        }
        self.app.print(&format!(
            "{}: {}; verified, in {}\n",
            order.name,
            parts.join(", "),
            duration((done.seconds * 1000.0) as u64)
        ));
    }

    fn end(&self, errors: Vec<Error>, wanted: &[Wanted]) -> Result<u8> {
        if let Some(error) = Error::all(errors) {
            return Err(error);
        }
        let ids: Vec<&str> = wanted.iter().map(|one| one.minion.id.as_str()).collect();
        if self.app.global.out == Out::Text && self.args.first_boot != Some(FirstBoot::None) {
            let ids = ids.join(",");
            self.app.note(&format!(
                "Next: start them, then `picloud ping {ids}` and `picloud apply {ids}`; their host keys are known."
            ));
        }
        Ok(0)
    }
}
