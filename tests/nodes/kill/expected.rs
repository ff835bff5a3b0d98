//! What a client knows of an image that it alone changes.

/// Whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    Certain,
    /// Its creation or removal was not answered.
    Maybe,
    Gone,
}

/// What it holds, by the number that its data is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    None,
    /// The upload was not answered.
    Maybe(u64),
    Certain(u64),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Done,
    /// Nothing has changed.
    Refused,
    /// Nobody answered: it may have been done.
    Unanswered,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Expected {
    pub id: String,
    /// One of these is its name.
    pub names: Vec<String>,
    /// One of these is its property `note`.
    pub notes: Vec<Option<String>>,
    pub data: Data,
    pub there: There,
}

impl Expected {
    pub fn new(id: String, name: String, data: Data, there: There) -> Self {
        Self { id, names: vec![name], notes: vec![None], data, there }
    }

    /// Its name, if that is known.
    pub fn name(&self) -> Option<&str> {
        match self.names.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    pub fn removed(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.there = There::Gone,
            Outcome::Refused => {}
            Outcome::Unanswered => self.there = There::Maybe,
        }
    }
}

/// Takes the new value for the only one, or for a further one that it may have.
pub fn change<T>(values: &mut Vec<T>, new: T, outcome: Outcome) {
    match outcome {
        Outcome::Done => *values = vec![new],
        Outcome::Refused => {}
        Outcome::Unanswered => values.push(new),
    }
}

/// Bytes that do not repeat, as many as the number says: up to a mebibyte.
pub fn data_of(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let length = random.below(1 << 20) + 1;
    let mut data: Vec<u8> =
        (0..length.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()).collect();
    data.truncate(length);
    if let Some(byte) = data.get_mut(510) {
        // No boot sector by chance, which is refused where raw data was announced.
        *byte = 0;
    }
    data
}

/// Numbers without an order.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}
