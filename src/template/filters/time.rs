//! Filters of dates and times.

use super::Filter;
use crate::template::args::Args;
use crate::template::context::shared;
use crate::template::value::{as_float, fail, text};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use minijinja::{Error, State, Value};

pub const FILTERS: &[(&str, Filter)] = &[("strftime", strftime), ("date_format", strftime)];

fn strftime(state: &mut State, value: Value, args: &mut Args) -> Result<Value, Error> {
    let format = args.text_or("format", "%Y-%m-%d")?;
    let now = shared(state)?.now;
    let time = cast(&value, now)?;
    formatted(&time, &format)
}

/// `time` in a format of C's `strftime`.
pub fn formatted(time: &Zoned, format: &str) -> Result<Value, Error> {
    jiff::fmt::strtime::format(format, time)
        .map(Value::from)
        .map_err(|why| fail(format!("{format:?} is no format for times: {why}")))
}

/// A time of the kinds that Salt reads: none (now), seconds since 1970, a date.
fn cast(value: &Value, now: Timestamp) -> Result<Zoned, Error> {
    let here = TimeZone::system();
    if value.is_none() {
        return Ok(now.to_zoned(here));
    }
    let written = text(value);
    let written = written.trim();
    let seconds = as_float(value).or_else(|| super::number::parse_float(written));
    let at = match seconds {
        Some(seconds) => Timestamp::from_microsecond((seconds * 1e6) as i64)
            .ok()
            .map(|time| time.to_zoned(here.clone())),
        None => match written {
            "now" | "" => Some(now.to_zoned(here.clone())),
            "today" => now.to_zoned(here.clone()).start_of_day().ok(),
            _ => written
                .parse::<Zoned>()
                .ok()
                .or_else(|| Some(written.parse::<Timestamp>().ok()?.to_zoned(here.clone())))
                .or_else(|| written.parse::<DateTime>().ok()?.to_zoned(here.clone()).ok())
                .or_else(|| {
                    ["%Y/%m/%d", "%m/%d/%Y", "%d.%m.%Y", "%a %b %e %H:%M:%S %Y", "%d %b %Y"]
                        .iter()
                        .find_map(|format| jiff::civil::Date::strptime(format, written).ok())?
                        .to_zoned(here)
                        .ok()
                }),
        },
    };
    at.ok_or_else(|| {
        fail(format!(
            "{written:?} is no date; write it as 2026-11-21 or 2026-11-21T10:00:00"
        ))
    })
}
