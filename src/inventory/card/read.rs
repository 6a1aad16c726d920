//! `card:` read field by field.

use super::super::fields::{Fields, text};
use super::super::minion::Secret;
use super::{Address, Boot, Card, CardPassword, FirstBoot, Network, Psk, Wifi, check};
use crate::error::{Error, Pos, Result};
use crate::yaml::{Data, Value};
use std::net::IpAddr;

type Check = fn(&str) -> Result<(), String>;

/// The card that `value` describes; `what` is the minion that it belongs to, for messages.
///
/// # Errors
/// Everything that is wrong in it.
pub(in super::super) fn card(value: &Value, what: &str) -> Result<Card> {
    let Data::Map(map) = &value.data else {
        return Err(Error::usage(format!("`card` must be a mapping, not {}", value.kind())).at(value.at));
    };
    let mut fields = Fields::of(map);
    let mut card = Card {
        at: value.at,
        hostname: checked(&mut fields, "hostname", check::host_name),
        user: checked(&mut fields, "user", check::user_name),
        groups: fields.take("groups").map(|value| listed(&mut fields, "groups", value)),
        ..Card::default()
    };
    if let (Some(groups), Some(value)) = (&card.groups, fields.take("groups")) {
        for group in groups {
            each(&mut fields, "groups", value, group, check::user_name);
        }
    }
    card.authorized_keys = fields.take("authorized_keys").map(|value| keys(&mut fields, value));
    card.password = password(&mut fields);
    card.sudo = fields.choice("sudo", "true or false", Value::as_bool);
    card.timezone = checked(&mut fields, "timezone", check::timezone);
    card.locale = checked(&mut fields, "locale", check::locale);
    card.keyboard = checked(&mut fields, "keyboard", check::keyboard);
    card.wifi = nested(
        &mut fields,
        "wifi",
        |fields, _| wifi(fields),
        &format!("the `wifi` of {what}"),
    )
    .flatten();
    card.network = nested(&mut fields, "network", network, &format!("the `network` of {what}")).unwrap_or_default();
    card.boot = nested(&mut fields, "boot", boot, &format!("the `boot` of {what}")).unwrap_or_default();
    card.first_boot = first_boot(&mut fields);
    fields.finish(&format!("the card of {what}"))?;
    Ok(card)
}

/// A mapping below a field, read by `read`.
fn nested<T>(fields: &mut Fields, name: &'static str, read: impl FnOnce(&mut Fields, Pos) -> T, what: &str) -> Option<T> {
    let value = fields.take(name)?;
    let Data::Map(map) = &value.data else {
        fields.error(Error::usage(format!("`{name}` must be a mapping, not {}", value.kind())).at(value.at));
        return None;
    };
    let mut below = Fields::of(map);
    let read = read(&mut below, value.at);
    match below.finish(what) {
        Ok(()) => Some(read),
        Err(error) => {
            fields.error(error);
            None
        }
    }
}

/// A string that passes `check`.
fn checked(fields: &mut Fields, name: &'static str, check: Check) -> Option<String> {
    let found = fields.text(name)?;
    match (check(&found), fields.take(name)) {
        (Err(expected), Some(value)) => {
            fields.error(Error::usage(format!("`{name}` must be {expected}, not `{found}`")).at(value.at));
            None
        }
        _ => Some(found),
    }
}

fn each(fields: &mut Fields, name: &str, value: &Value, found: &str, check: Check) {
    if let Err(expected) = check(found) {
        let items = value.as_list().unwrap_or_default();
        let at = items
            .iter()
            .find(|item| text(item).as_deref() == Some(found))
            .map_or(value.at, |item| item.at);
        fields.error(Error::usage(format!("each of `{name}` must be {expected}, not `{found}`")).at(at));
    }
}

/// One string or a list of them; an empty list is a choice of its own.
fn listed(fields: &mut Fields, name: &'static str, value: &Value) -> Vec<String> {
    match value.as_list() {
        Some([]) => Vec::new(),
        _ => fields.texts(name),
    }
}

fn keys(fields: &mut Fields, value: &Value) -> Vec<(String, Pos)> {
    let items = match value.as_list() {
        Some(items) => items,
        None => std::slice::from_ref(value),
    };
    let mut keys = Vec::new();
    for item in items {
        match text(item) {
            Some(text) => keys.push((text, item.at)),
            None => fields
                .error(Error::usage("each of `authorized_keys` must be a public key or the path of a `.pub` file").at(item.at)),
        }
    }
    keys
}

/// The value is never repeated: it may be a secret in the wrong form.
fn password(fields: &mut Fields) -> Option<CardPassword> {
    let value = fields.take("password")?;
    let word = text(value);
    match word.as_deref() {
        Some("ask") => Some(CardPassword::Ask),
        Some(word) if check::password_hash(word).is_ok() => Some(CardPassword::Hash(Secret::new(word))),
        _ => {
            let error = Error::usage("the card's `password` must be a hash, or `ask`; a password in clear text is not taken");
            fields.error(
                error
                    .at(value.at)
                    .hint("`mkpasswd -m sha-512` makes one; without a password keys alone log in"),
            );
            None
        }
    }
}

fn wifi(fields: &mut Fields) -> Option<Wifi> {
    let has_ssid = fields.take("ssid").is_some();
    let ssid = checked(fields, "ssid", check::ssid);
    let given = fields.take("psk").map(|value| (value, text(value)));
    let file = fields.text("psk_file").zip(fields.take("psk_file"));
    let psk = match (given, file) {
        (Some((value, _)), Some(_)) => {
            fields.error(Error::usage("`psk` and `psk_file` cannot both be given").at(value.at));
            None
        }
        (Some((value, word)), None) => {
            let checked = word.as_deref().map_or(Err(String::new()), check::psk);
            if checked.is_err() {
                let expected = "a passphrase of 8 to 63 printable ASCII characters, or 64 hexadecimal digits";
                fields.error(Error::usage(format!("`psk` must be {expected}")).at(value.at));
            }
            word.map(|word| Psk::Given(Secret::new(word)))
        }
        (None, Some((path, value))) => Some(Psk::File(path, value.at)),
        (None, None) => None,
    };
    let wifi = Wifi {
        ssid: ssid.unwrap_or_default(),
        psk,
        country: checked(fields, "country", check::country),
        hidden: fields.choice("hidden", "true or false", Value::as_bool).unwrap_or_default(),
    };
    if !has_ssid {
        fields.error(Error::usage("a `wifi` needs an `ssid`"));
    }
    Some(wifi)
}

fn ip(value: &Value) -> Option<IpAddr> {
    text(value)?.parse().ok()
}

fn network(fields: &mut Fields, at: Pos) -> Network {
    let dhcp = fields.choice("dhcp", "true or false", Value::as_bool);
    let expected = "an address with its prefix, such as `192.168.1.10/24`";
    let address = fields.choice("address", expected, |value| Address::parse(&text(value)?));
    let gateway = fields.choice("gateway", "an address", ip);
    let mut dns = Vec::new();
    for server in fields.texts("dns") {
        match server.parse() {
            Ok(ip) => dns.push(ip),
            Err(_) => {
                let at = fields.take("dns").map_or(at, |value| value.at);
                fields.error(Error::usage(format!("each of `dns` must be an address, not `{server}`")).at(at));
            }
        }
    }
    if let (Some(address), Some(gateway)) = (address, gateway)
        && !address.reaches(gateway)
    {
        let at = fields.take("gateway").map_or(at, |value| value.at);
        fields.error(Error::usage(format!("the gateway {gateway} is not in the network of {address}")).at(at));
    }
    match (dhcp, address, gateway) {
        (Some(true), Some(_), _) => fields.error(Error::usage("`dhcp: true` and `address` cannot both be given").at(at)),
        (Some(false), None, _) => fields.error(Error::usage("`dhcp: false` needs an `address`").at(at)),
        (_, None, Some(_)) => fields.error(Error::usage("`gateway` goes with `address`: by DHCP the router names itself").at(at)),
        _ => {}
    }
    Network {
        interface: checked(fields, "interface", check::interface),
        address,
        gateway,
        dns,
    }
}

fn boot(fields: &mut Fields, at: Pos) -> Boot {
    let mut boot = Boot { at, ..Boot::default() };
    if let Some(config) = fields.take("config") {
        match &config.data {
            Data::Map(map) => {
                for (key, value) in map {
                    let name = key.text();
                    if let Err(expected) = check::config_key(&name) {
                        fields.error(Error::usage(format!("`{name}` is not {expected}")).at(key.at));
                        continue;
                    }
                    let items = match value.as_list() {
                        Some(items) => items,
                        None => std::slice::from_ref(value),
                    };
                    let mut values = Vec::new();
                    for item in items {
                        let written = match &item.data {
                            // How config.txt says yes and no.
                            Data::Bool(yes) => Some(if *yes { "1" } else { "0" }.to_owned()),
                            _ => text(item),
                        };
                        match written.map(|text| check::config_value(&name, &text).map(|()| text)) {
                            Some(Ok(text)) => values.push(text),
                            Some(Err(expected)) => {
                                fields.error(Error::usage(format!("the value of `{name}` must be {expected}")).at(item.at))
                            }
                            None => fields.error(
                                Error::usage(format!("`{name}` must be a value or a list of values, not {}", item.kind()))
                                    .at(item.at),
                            ),
                        }
                    }
                    boot.config.push((name, values));
                }
            }
            _ => fields.error(Error::usage(format!("`config` must be a mapping, not {}", config.kind())).at(config.at)),
        }
    }
    if let Some(cmdline) = fields.take("cmdline") {
        // One text is split at its spaces: it is one line in the end.
        let words: Vec<String> = match text(cmdline) {
            Some(text) => text.split_whitespace().map(str::to_owned).collect(),
            None => fields.texts("cmdline"),
        };
        for word in &words {
            each(fields, "cmdline", cmdline, word, check::cmdline_word);
        }
        boot.cmdline = words;
    }
    boot
}

fn first_boot(fields: &mut Fields) -> Option<FirstBoot> {
    let name = fields.text("first_boot")?;
    let method = FirstBoot::parse(&name);
    if let (None, Some(value)) = (method, fields.take("first_boot")) {
        let names = FirstBoot::ALL.map(FirstBoot::name);
        let error = Error::usage(format!("`{name}` is no method of the first boot")).at(value.at);
        fields.error(
            error
                .did_you_mean(&name, names)
                .hint(format!("the methods are {}", names.join(", "))),
        );
    }
    method
}
