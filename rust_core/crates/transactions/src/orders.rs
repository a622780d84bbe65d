//! Recovers the order in which values were appended to each key, and what each transaction read of it.
//!
//! A read of a list shows all of its past, so the longest read of a key gives the order of its appends as far as
//! anybody saw it, and every other read must be a prefix of it (Elle, §4.2.3). The order goes on beyond what was read
//! where it is certain: after a transaction's append come its further ones, and a transaction that read the
//! longest list and then appended to it comes next (two of them have lost an update). What else was
//! appended by committed transactions and read by nobody comes after all that, in an order that nobody knows.

use std::fmt::Write;

use mcp_chaos_history::{Ending, Map, Value};

use crate::anomalies::{Anomalies, Kind};
use crate::input::{Act, Input};
use crate::meter::{Meter, Stopped};

pub(crate) const NONE: u32 = u32::MAX;

/// One append of a value to a key.
pub(crate) struct Append<'h> {
    pub value: &'h Value,
    pub access: u32,
    /// Its number among the transaction's appends to this key.
    index: u32,
    /// The one before it there.
    previous: u32,
    /// Where it stands in the key's order.
    position: u32,
}

/// All that one transaction does with one key.
pub(crate) struct Access<'h> {
    pub transaction: u32,
    pub key: u32,
    appends: u32,
    last_append: u32,
    /// How many of its appends stand in the key's order.
    placed: u32,
    /// The longest list that it read.
    list: Option<&'h [Value]>,
    /// How much of that list others had appended.
    pub before: u32,
    /// Whether what it read agrees with itself and with the key's order.
    sound: bool,
}

impl Access<'_> {
    /// Whether it tells where the transaction stands.
    pub fn observes(&self) -> bool {
        self.sound && self.list.is_some()
    }

    /// Whether it appends, at an unknown place.
    pub fn unplaced(&self) -> bool {
        self.appends > 0 && self.placed == 0
    }
}

/// The order of appends to a key.
#[derive(Default)]
pub(crate) struct Order<'h> {
    /// Numbers of appends; [`NONE`] for what nobody appended.
    pub appends: Vec<u32>,
    /// The longest list that was read.
    pub list: &'h [Value],
    /// Who read it.
    pub reader: u32,
    /// Whether nothing can be told of this key.
    pub unjudged: bool,
}

pub(crate) struct Orders<'h> {
    pub appends: Vec<Append<'h>>,
    pub accesses: Vec<Access<'h>>,
    /// One for each key.
    pub keys: Vec<Order<'h>>,
    /// For each transaction, whether it certainly took effect.
    pub committed: Vec<bool>,
    by_key: Vec<u32>,
    starts: Vec<u32>,
}

impl<'h> Orders<'h> {
    /// The accesses to a key, in the order of the transactions' invocations.
    pub fn of_key(&self, key: u32) -> &[u32] {
        &self.by_key[self.starts[key as usize] as usize..self.starts[key as usize + 1] as usize]
    }

    pub fn access(&self, number: u32) -> &Access<'h> {
        &self.accesses[number as usize]
    }

    pub fn append(&self, number: u32) -> &Append<'h> {
        &self.appends[number as usize]
    }

    /// The transaction that made an append, if there is one and it is committed.
    pub fn writer(&self, append: u32) -> Option<u32> {
        if append == NONE {
            return None;
        }
        let transaction = self.access(self.append(append).access).transaction;
        self.committed[transaction as usize].then_some(transaction)
    }

    /// The first append that an access makes.
    pub fn first_append(&self, access: &Access) -> u32 {
        let mut first = access.last_append;
        while self.append(first).previous != NONE {
            first = self.append(first).previous;
        }
        first
    }
}

/// What each transaction does with each key, and who appended what.
pub(crate) fn recover<'h>(
    input: &Input<'h>,
    anomalies: &mut Anomalies,
    meter: &mut Meter,
) -> Result<Orders<'h>, Stopped> {
    let mut orders = Orders {
        appends: Vec::new(),
        accesses: Vec::new(),
        keys: Vec::new(),
        committed: input.transactions.iter().map(|transaction| transaction.ending == Ending::Ok).collect(),
        by_key: Vec::new(),
        starts: Vec::new(),
    };
    orders.keys.resize_with(input.keys.len(), Order::default);
    let mut appenders: Map<(u32, &Value), u32> = Map::default();
    // The last access to each key: a transaction's own, if it has one.
    let mut last = vec![NONE; input.keys.len()];
    for transaction in 0..input.transactions.len() as u32 {
        read_transaction(input, transaction, &mut orders, &mut appenders, &mut last, anomalies);
        meter.step(1 + input.micros(transaction).len() as u64)?;
    }
    group_by_key(&mut orders);
    for key in 0..input.keys.len() as u32 {
        if !orders.keys[key as usize].unjudged {
            KeyOrder { input, orders: &mut orders, appenders: &appenders, anomalies, key }.recover(meter)?;
        }
    }
    Ok(orders)
}

fn read_transaction<'h>(
    input: &Input<'h>,
    transaction: u32,
    orders: &mut Orders<'h>,
    appenders: &mut Map<(u32, &'h Value), u32>,
    last: &mut [u32],
    anomalies: &mut Anomalies,
) {
    for micro in input.micros(transaction) {
        let key = micro.key;
        let mut number = last[key as usize];
        if number == NONE || orders.access(number).transaction != transaction {
            number = orders.accesses.len() as u32;
            last[key as usize] = number;
            orders.accesses.push(Access {
                transaction,
                key,
                appends: 0,
                last_append: NONE,
                placed: 0,
                list: None,
                before: 0,
                sound: true,
            });
        }
        match micro.act {
            Act::Append(value) => {
                let new = orders.appends.len() as u32;
                let access = &mut orders.accesses[number as usize];
                orders.appends.push(Append {
                    value,
                    access: number,
                    index: access.appends,
                    previous: access.last_append,
                    position: NONE,
                });
                access.last_append = new;
                access.appends += 1;
                let known = *appenders.entry((key, value)).or_insert(new);
                if known != new {
                    appended_again(input, orders, appenders, anomalies, known, new);
                }
            }
            Act::Read(Some(list)) => {
                if !read_agrees(orders, number, list) {
                    orders.accesses[number as usize].sound = false;
                    let key = input.keys[key as usize];
                    anomalies.add(Kind::Internal, [transaction], || {
                        format!(
                            "T{transaction} read {} = {}, which is not what it had read and appended itself \
                             before that",
                            name(key),
                            show(list)
                        )
                    });
                }
            }
            Act::Read(None) => {}
        }
    }
}

/// A value that is appended to a key twice tells nothing, unless all but one of them had no effect.
fn appended_again<'h>(
    input: &Input<'h>,
    orders: &mut Orders<'h>,
    appenders: &mut Map<(u32, &'h Value), u32>,
    anomalies: &mut Anomalies,
    known: u32,
    new: u32,
) {
    let failed = |transaction: u32| input.transactions[transaction as usize].ending == Ending::Fail;
    let [first, second] = [known, new].map(|append| orders.access(orders.append(append).access).transaction);
    let key = orders.access(orders.append(new).access).key;
    let value = orders.append(new).value;
    if failed(second) {
    } else if failed(first) {
        appenders.insert((key, value), new);
    } else if !std::mem::replace(&mut orders.keys[key as usize].unjudged, true) {
        let says = || {
            let by = if first == second {
                format!("T{first} appends {value} to {} twice", name(input.keys[key as usize]))
            } else {
                format!("T{first} and T{second} both append {value} to {}", name(input.keys[key as usize]))
            };
            format!("{by}: the value does not tell who appended it")
        };
        anomalies.unjudged.get_or_insert_with(|| (says(), 0)).1 += 1;
    }
}

/// Whether a list is what the transaction must see after what it read and appended so far; if so, it is kept.
fn read_agrees<'h>(orders: &mut Orders<'h>, number: u32, list: &'h [Value]) -> bool {
    let access = orders.access(number);
    if !access.sound {
        return true; // Said already.
    }
    let own = access.appends as usize;
    let Some(before) = list.len().checked_sub(own) else { return false };
    let mut append = access.last_append;
    for value in list.iter().rev() {
        if append == NONE {
            break;
        }
        if orders.append(append).value != value {
            return false;
        }
        append = orders.append(append).previous;
    }
    if let Some(seen) = access.list {
        let same = access.before as usize == before && seen[..before] == list[..before];
        if !same {
            return false;
        }
    }
    let access = &mut orders.accesses[number as usize];
    access.before = before as u32;
    access.list = Some(list);
    true
}

fn group_by_key(orders: &mut Orders) {
    let mut starts = vec![0u32; orders.keys.len() + 1];
    for access in &orders.accesses {
        starts[access.key as usize + 1] += 1;
    }
    for key in 0..orders.keys.len() {
        starts[key + 1] += starts[key];
    }
    let mut next = starts.clone();
    orders.by_key = vec![0; orders.accesses.len()];
    for (number, access) in orders.accesses.iter().enumerate() {
        let place = &mut next[access.key as usize];
        orders.by_key[*place as usize] = number as u32;
        *place += 1;
    }
    orders.starts = starts;
}

/// Recovers one key's order.
struct KeyOrder<'a, 'h> {
    input: &'a Input<'h>,
    orders: &'a mut Orders<'h>,
    appenders: &'a Map<(u32, &'h Value), u32>,
    anomalies: &'a mut Anomalies,
    key: u32,
}

impl<'h> KeyOrder<'_, 'h> {
    fn recover(&mut self, meter: &mut Meter) -> Result<(), Stopped> {
        let mut longest = NONE;
        for &access in self.orders.of_key(self.key) {
            let access_ = self.orders.access(access);
            if access_.observes()
                && (longest == NONE
                    || access_.list.map(<[_]>::len) > self.orders.access(longest).list.map(<[_]>::len))
            {
                longest = access;
            }
        }
        let Some(list) = (longest != NONE).then(|| self.orders.access(longest).list).flatten() else {
            return Ok(());
        };
        self.orders.keys[self.key as usize].list = list;
        self.orders.keys[self.key as usize].reader = longest;
        meter.step(list.len() as u64)?;
        self.place(list, longest);
        self.compare(list, longest, meter)?;
        self.blocks(list);
        self.extend(list);
        Ok(())
    }

    fn key_name(&self) -> String {
        name(self.input.keys[self.key as usize])
    }

    fn transaction(&self, access: u32) -> u32 {
        self.orders.access(access).transaction
    }

    fn failed(&self, transaction: u32) -> bool {
        self.input.transactions[transaction as usize].ending == Ending::Fail
    }

    /// The first transaction that read more than so many elements of the order.
    fn reader_beyond(&self, length: usize) -> u32 {
        let beyond = |access: &&u32| {
            let access = self.orders.access(**access);
            access.observes() && access.list.is_some_and(|list| list.len() > length)
        };
        let found = self.orders.of_key(self.key).iter().find(beyond).copied();
        self.transaction(found.unwrap_or(self.orders.keys[self.key as usize].reader))
    }

    /// Finds who appended each element of the longest list.
    fn place(&mut self, list: &'h [Value], longest: u32) {
        let reader = self.transaction(longest);
        let mut placed = Vec::with_capacity(list.len());
        let mut aborted = None;
        for (at, value) in list.iter().enumerate() {
            let append = self.identify(value, list, reader);
            if append == NONE {
                placed.push(NONE);
                continue;
            }
            if self.orders.append(append).position != NONE {
                let key = self.key_name();
                self.anomalies.add(Kind::DuplicateElements, [reader], || {
                    format!("T{reader} read {key} = {}, which has {value} twice", show(list))
                });
                placed.push(NONE);
                continue;
            }
            self.orders.appends[append as usize].position = at as u32;
            let access = self.orders.append(append).access;
            self.orders.accesses[access as usize].placed += 1;
            let writer = self.transaction(access);
            if self.failed(writer) {
                aborted = aborted.or(Some((writer, value)));
            } else {
                self.orders.committed[writer as usize] = true;
                if let Some((aborted, lost)) = aborted.take() {
                    let key = self.key_name();
                    self.anomalies.add(Kind::DirtyUpdate, [aborted, writer, reader], || {
                        format!(
                            "T{writer} appended {value} to {key} after {lost} of T{aborted}, which had failed, as \
                             T{reader} read: {}",
                            show(list)
                        )
                    });
                }
            }
            placed.push(append);
        }
        self.orders.keys[self.key as usize].appends = placed;
    }

    /// Who appended a value that was read; says so if nobody may have.
    fn identify(&mut self, value: &'h Value, list: &[Value], reader: u32) -> u32 {
        let Some(&append) = self.appenders.get(&(self.key, value)) else {
            let key = self.key_name();
            self.anomalies.add(Kind::GarbageRead, [reader], || {
                format!("T{reader} read {key} = {}, and nobody ever appended {value}", show(list))
            });
            return NONE;
        };
        let writer = self.transaction(self.orders.append(append).access);
        if self.failed(writer) {
            let key = self.key_name();
            self.anomalies.add(Kind::G1a, [writer, reader], || {
                format!("T{reader} read {key} = {}, with {value} of T{writer}, which had failed", show(list))
            });
        }
        append
    }

    /// Every read must be a prefix of the longest; and must end where a transaction does.
    fn compare(&mut self, list: &'h [Value], longest: u32, meter: &mut Meter) -> Result<(), Stopped> {
        // For each length, who read so much and then appended.
        let mut updaters = vec![NONE; list.len() + 1];
        for at in self.orders.starts[self.key as usize]..self.orders.starts[self.key as usize + 1] {
            let number = self.orders.by_key[at as usize];
            let access = self.orders.access(number);
            let (Some(seen), true) = (access.list, access.observes()) else { continue };
            let reader = access.transaction;
            let before = access.before as usize;
            meter.step(1 + seen.len() as u64 / 8)?;
            if !list.starts_with(seen) {
                let key = self.key_name();
                let other = self.transaction(longest);
                self.orders.accesses[number as usize].sound = false;
                self.anomalies.add(Kind::IncompatibleOrder, [reader, other], || {
                    format!(
                        "T{reader} read {key} = {}, and T{other} read {key} = {}: neither list begins with the other",
                        show(seen),
                        show(list)
                    )
                });
                for value in seen {
                    self.identify(value, seen, reader);
                }
                continue;
            }
            if self.sees_own_future(number) {
                self.orders.accesses[number as usize].sound = false;
                let key = self.key_name();
                self.anomalies.add(Kind::Internal, [reader], || {
                    format!("T{reader} read {key} = {}, with a value that it appended only later", show(seen))
                });
                continue;
            }
            let access = self.orders.access(number);
            if access.appends > 0 {
                let other = std::mem::replace(&mut updaters[before], reader);
                if other != NONE {
                    let key = self.key_name();
                    self.anomalies.add(Kind::LostUpdate, [other, reader], || {
                        format!(
                            "T{other} and T{reader} both read {key} = {} and appended to it: the second of them had \
                             to see what the first appended",
                            show(&seen[..before])
                        )
                    });
                }
            }
            self.intermediate(reader, before, seen);
        }
        Ok(())
    }

    fn sees_own_future(&self, number: u32) -> bool {
        let access = self.orders.access(number);
        let mut append = access.last_append;
        while append != NONE {
            // `NONE` is larger than any length.
            if self.orders.append(append).position < access.before {
                return true;
            }
            append = self.orders.append(append).previous;
        }
        false
    }

    /// G1b, if what others had appended ends within a transaction.
    fn intermediate(&mut self, reader: u32, before: usize, seen: &[Value]) {
        let Some(last) = before.checked_sub(1) else { return };
        let append = self.orders.keys[self.key as usize].appends[last];
        if append == NONE {
            return;
        }
        let Append { value, index, access, .. } = *self.orders.append(append);
        let writing = self.orders.access(access);
        let writer = writing.transaction;
        if index + 1 == writing.appends || writer == reader || self.failed(writer) {
            return;
        }
        let mut next = writing.last_append;
        while self.orders.append(next).previous != append {
            next = self.orders.append(next).previous;
        }
        let Append { value: next, position, .. } = *self.orders.append(next);
        if (position as usize) < before {
            return; // Out of order: that is said elsewhere.
        }
        let key = self.key_name();
        self.anomalies.add(Kind::G1b, [writer, reader], || {
            format!(
                "T{reader} read {key} = {}, which ends with {value} of T{writer}, and T{writer} went on to append {next}",
                show(&seen[..before])
            )
        });
    }

    /// What one transaction appended stands in its order, and all of it if another transaction's follows.
    fn blocks(&mut self, list: &'h [Value]) {
        let placed = std::mem::take(&mut self.orders.keys[self.key as usize].appends);
        for (at, &append) in placed.iter().enumerate() {
            if append == NONE {
                continue;
            }
            let Append { index, previous, access, .. } = *self.orders.append(append);
            let writer = self.transaction(access);
            if self.failed(writer) {
                continue;
            }
            // A position of `NONE` is as wrong as one that comes later.
            if previous != NONE && self.orders.append(previous).position >= at as u32 {
                let (key, reader) = (self.key_name(), self.reader_beyond(at));
                let before = self.orders.append(previous).value;
                self.anomalies.add(Kind::IncompatibleOrder, [writer, reader], || {
                    format!(
                        "T{reader} read {key} = {}, where {before} does not stand before {}, as T{writer} appended \
                         them",
                        show(list),
                        list[at]
                    )
                });
            }
            let Access { appends, placed: seen, .. } = *self.orders.access(access);
            let last_of_it = seen == index + 1;
            let followed = placed[at + 1..]
                .first()
                .is_some_and(|&next| next == NONE || self.orders.append(next).access != access);
            if seen < appends && last_of_it && followed {
                let (key, reader) = (self.key_name(), self.reader_beyond(at + 1));
                self.anomalies.add(Kind::G1b, [writer, reader], || {
                    format!(
                        "T{reader} read {key} = {}, with {} of T{writer} but not all that T{writer} appended",
                        show(list),
                        list[at]
                    )
                });
            }
        }
        self.orders.keys[self.key as usize].appends = placed;
    }

    /// Goes on beyond what was read, where that is certain.
    fn extend(&mut self, list: &'h [Value]) {
        let length = list.len() as u32;
        let last = self.orders.keys[self.key as usize].appends.last().copied().unwrap_or(NONE);
        let unfinished = (last != NONE)
            .then(|| self.orders.append(last).access)
            .filter(|&access| self.orders.append(last).index + 1 < self.orders.access(access).appends)
            .filter(|&access| !self.failed(self.transaction(access)));
        let next = unfinished.or_else(|| {
            let mut updaters = self.orders.of_key(self.key).iter().copied().filter(|&access| {
                let access = self.orders.access(access);
                access.observes() && access.before == length && access.unplaced()
            });
            updaters.next().filter(|_| updaters.next().is_none())
        });
        let Some(next) = next else { return };
        let mut rest = Vec::new();
        let mut append = self.orders.access(next).last_append;
        while append != NONE && self.orders.append(append).position == NONE {
            rest.push(append);
            append = self.orders.append(append).previous;
        }
        for &append in rest.iter().rev() {
            let order = &mut self.orders.keys[self.key as usize].appends;
            self.orders.appends[append as usize].position = order.len() as u32;
            order.push(append);
            self.orders.accesses[next as usize].placed += 1;
        }
    }
}

/// A key as sentences name it.
pub(crate) fn name(key: &Value) -> String {
    key.as_text().map_or_else(|| key.to_string(), str::to_owned)
}

/// A list as sentences show it: long ones without their middle.
pub(crate) fn show(list: &[Value]) -> String {
    const ENDS: usize = 6;
    let mut text = String::from("[");
    for (at, value) in list.iter().enumerate() {
        let hidden = list.len().saturating_sub(2 * ENDS);
        if hidden > 1 && at >= ENDS && at < ENDS + hidden {
            if at == ENDS {
                let _ = write!(text, ", … {hidden} more …");
            }
            continue;
        }
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{value}");
    }
    text.push(']');
    text
}
