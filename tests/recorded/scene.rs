//! What was there before the recordings of an area began: images whose creation is not recorded.

use serde_json::{Value, json};

/// An image to create before an area is replayed.
pub struct Prop {
    pub area: &'static str,
    pub id: &'static str,
    pub actor: &'static str,
    pub body: Value,
    pub data: Option<&'static [u8]>,
    /// The data was staged, not uploaded.
    pub staged: bool,
}

/// The time that filters of the area `04` name: that of the image `LIST_MIDDLE`.
pub const LIST_TIME: &str = "2026-11-21T00:38:18Z";
pub const LIST_MIDDLE: &str = "f5b2fd06-942f-461a-8e52-0cb1b0b186e7";

fn prop(area: &'static str, id: &'static str, name: &str, data: Option<&'static [u8]>) -> Prop {
    let body = json!({"name": name, "disk_format": "raw", "container_format": "bare"});
    Prop { area, id, actor: "demo", body, data, staged: false }
}

impl Prop {
    fn with(mut self, more: Value) -> Self {
        self.body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self
    }

    fn staged(mut self) -> Self {
        self.staged = true;
        self
    }

    fn listed(self, number: u64) -> Self {
        let (format, distro) =
            if self.data.is_some() { ("raw", "debian") } else { ("qcow2", "fedora") };
        let tag = format!("t{number}");
        self.with(json!({
            "disk_format": format, "os_distro": distro, "min_ram": number, "tags": ["lt", tag],
        }))
    }
}

/// Images that are in the cache: from which exchange of area `14` on; empty: before the first.
pub const CACHED: &[(&str, &str)] = &[
    ("", "4910971a-0b92-4e84-a5c3-c0ea71af62dc"),
    ("list cached", "514ffd9b-4d09-4cec-b956-1d1fcda673ee"),
];

const BYTES: &[u8] = &{
    let mut bytes = [0; 4096];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
};

pub fn props() -> Vec<Prop> {
    let hello: Option<&[u8]> = Some(b"hello world");
    let mut community = prop("04", "8a0d1347-860a-44ac-b403-f136c7afccfb", "comm", hello)
        .with(json!({"visibility": "community"}));
    community.actor = "alt_demo";
    let mut large = prop("20", "641a083d-4938-40aa-b2b0-3389cb5736fb", "q1", None);
    large.actor = "alt_demo";
    let mut limited = prop("20", "8742bb35-8b30-4dce-91f2-d9467f265241", "q2", None);
    limited.actor = "alt_demo";
    // Between two recorded requests.
    let mut staged =
        prop("before 20-quotas #4", "a5d47b4c-b102-4eae-b03e-64e037b898ce", "q3", None);
    staged.actor = "alt_demo";
    let mut bare = prop("07", "b4ea6399-acdb-4723-b579-3b7240c9f9fe", "none", None);
    bare.body = json!({"name": "none"});
    let mut copied = prop("18", "30172e32-1a65-4253-bf17-a7f87b779850", "copyme", Some(&DIGITS));
    copied.actor = "admin";
    vec![
        copied,
        large,
        prop("12", "05a5cb3c-4a95-4ce4-900f-1ebf841d8ead", "web", None),
        prop("12", "b0161260-cf64-4ce7-ad13-e765ed4cd412", "web404", None),
        prop("12", "d0b701e9-e7da-4fc4-9cdf-e0496fc59518", "failstore", hello).staged(),
        prop("12", "37ea3ba3-54c0-496e-af58-fa3be8180036", "staged", hello).staged(),
        prop("18", "4764d025-bfe7-48a8-9312-6a090e887ba9", "stores-hdr", None),
        prop("18", "51e35660-81ac-4003-b857-f4fff769bc9e", "g", None)
            .with(json!({"disk_format": "qcow2"})),
        prop("18", "634a5f47-d869-4b36-b774-0baf130c6621", "gd", None),
        prop("04", "b9decdf3-ea08-4353-8a86-5344d0db7ffb", "list0", Some(b"x")).listed(0),
        prop("04", "344691cf-be85-43ad-8d82-8ff1076f7098", "list1", None).listed(1),
        prop("04", "80287fcd-3257-4ba9-8ede-af1d67cdce08", "list2", Some(b"xxx")).listed(2),
        prop("04", LIST_MIDDLE, "list0", None).listed(3),
        prop("04", "e2a60389-302e-4ec8-a0c7-924a68badcbd", "list1", Some(b"xxxxx")).listed(4),
        prop("04", "16b40e40-8d38-4b19-9c37-273d8d3c5e2b", "list2", None).listed(5),
        community,
        prop("04", "49706995-58fa-4a18-a18f-d476d249611c", "hidden", hello)
            .with(json!({"os_hidden": true})),
        prop("05", "3973044c-e6ef-4713-a12d-c26220a3b7d3", "show", hello)
            .with(json!({"my": "v", "tags": ["a", "z"]})),
        prop("06", "39d9c566-3b1d-42fb-ac6d-58d9a3f5d1ea", "x", None),
        prop("06", "e8634f31-8ebf-45c2-ae1e-1cbee6c59946", "x", None),
        prop("10", "2d74da46-9466-46a9-85d5-ebaa8394dfa1", "private", None)
            .with(json!({"visibility": "private"})),
        prop("07", "301494fa-288f-47f0-b6dd-61437b13d0b3", "file", None),
        bare,
        prop("07", "4910971a-0b92-4e84-a5c3-c0ea71af62dc", "empty", None),
        prop("07", "dc21fb9b-0981-44e0-9616-8745a4191561", "mismatch", None)
            .with(json!({"disk_format": "qcow2"})),
        prop("07", "de163144-9804-44ec-85a5-25bd3594c9ff", "tostore", None),
        prop("07", "92932738-7831-46cd-b60c-e5385b69f768", "tobadstore", None),
        prop("07", "a71563b6-6fac-4d7e-aef0-64adca1c3d48", "sized", None),
        prop("07", "5b9f8b7c-b3bc-45b0-a8b0-f35594379cb4", "qcow2", None)
            .with(json!({"disk_format": "qcow2"})),
        prop("08", "bdedac8a-f638-4938-b0b9-9f7376d25ca4", "queued", None),
        prop("14", "514ffd9b-4d09-4cec-b956-1d1fcda673ee", "cached", Some(BYTES)),
        prop("14", "b0161260-cf64-4ce7-ad13-e765ed4cd412", "queued", None),
        limited,
        staged,
        prop("15", "c42179cf-63f1-43c9-999c-694d6ce77a88", "loc", None),
        prop("15", "a48b86a8-fa36-4516-9d18-08e0847b2163", "loc2", None),
        prop("15", "79bed922-778c-4f81-9165-70189118a42d", "loc3", None),
        prop("19", "27b5cafd-d896-4ddc-8a6c-70b6bd979419", "validation ok", None),
        prop("19", "b5c4149a-645e-486e-b693-b04ca4ad293e", "validation sha256", None),
        prop("19", "2059c59a-90ad-4953-b6bd-0e42d624c02a", "validation wrong", None),
        prop("19", "710c1502-839d-4ea3-b227-8fb1374a3fd2", "extra key", None),
        prop("19", "0ebf4e66-a307-4a52-9b7c-6f38c40c924d", "missing url 404", None),
        prop("19", "a2bed7ff-b30d-4f30-9eff-a0607288fe5e", "metadata", None),
        prop("19", "ed6bfe46-f313-450c-88e2-6efc23cda80c", "admin", None),
        prop("19", "5fd1ec9e-4466-4646-b60e-60a0c6e61580", "file as admin", None),
    ]
}

/// A thousand digits.
static DIGITS: [u8; 1000] = {
    let mut digits = [b'0'; 1000];
    let mut at = 0;
    while at < digits.len() {
        digits[at] += (at % 10) as u8;
        at += 1;
    }
    digits
};

/// The bodies that the recordings uploaded, told apart by their length.
pub fn upload(length: u64) -> Vec<u8> {
    match length {
        1000 => DIGITS.to_vec(),
        4096 => BYTES.to_vec(),
        196_616 => empty_qcow2(),
        0x30_0000 => vec![b'x'; 3 << 20],
        other => panic!("no upload has {other} bytes"),
    }
}

/// What `qemu-img create -f qcow2 x 4M` writes.
fn empty_qcow2() -> Vec<u8> {
    let mut image = vec![0; 196_616];
    let header: &[(usize, &[u8])] = &[
        (0, b"QFI\xfb\0\0\0\x03"),
        (23, b"\x10\0\0\0\0\0\x40"),
        (39, b"\x01\0\0\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\x01"),
        (99, b"\x04\0\0\0\x70"),
        (112, b"\x68\x03\xf8\x57\0\0\x01\x80\0\0dirty bit"),
        (169, b"\x01corrupt bit"),
        (217, b"\x02external data file"),
        (265, b"\x03compression type"),
        (313, b"\x04extended L2 entries"),
        (360, b"\x01\0lazy refcounts"),
        (408, b"\x02\0bitmaps"),
        (456, b"\x02\x01raw external data"),
        (65_541, b"\x02"),
        (131_073, b"\x01\0\x01\0\x01\0\x01"),
    ];
    for (at, bytes) in header {
        image[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    image
}
