//! Progress of work on cards, in the form that suits where it goes; and Ctrl-C.

use super::app::{App, Out};
use crate::error::Result;
use crate::flash::event::{Event, Listener};
use crate::report::{FlashBars, FlashJson, FlashLines};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bars on a terminal, lines in a log, JSON where that was asked for.
pub struct Screen {
    pub listener: Arc<dyn Listener>,
    bars: Option<Arc<FlashBars>>,
}

impl Screen {
    pub fn new(app: &App) -> Screen {
        let plain = |listener: Arc<dyn Listener>| Screen { listener, bars: None };
        if app.global.out != Out::Text {
            return plain(Arc::new(FlashJson::new()));
        }
        if app.bars().is_none() {
            return plain(Arc::new(FlashLines::new()));
        }
        let bars = Arc::new(FlashBars::new(app.multi()));
        let heard = bars.clone();
        Screen {
            listener: Arc::new(move |event: &Event| heard.hear(event)),
            bars: Some(bars),
        }
    }

    /// For commands whose result is one document: progress for people, nothing beside the result for programs.
    pub fn beside_result(app: &App) -> Screen {
        match app.global.out {
            Out::Text => Screen::new(app),
            Out::Json | Out::Yaml => Screen {
                listener: Arc::new(|_: &Event| {}),
                bars: None,
            },
        }
    }

    /// Takes the bars away: something is to be printed.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            bars.clear();
        }
    }
}

/// A flag that the first Ctrl-C sets, so that what is under way can be put in order; `said` is told then. The second gives up at once.
///
/// # Errors
/// The system refuses threads.
pub fn interrupts(app: &App, said: &'static str) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (set, bars) = (stop.clone(), app.multi());
    app.block_on(async {
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if set.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
                bars.suspend(|| eprintln!("{said}; Ctrl-C again gives up at once"));
            }
        });
    })?;
    Ok(stop)
}
