//! Reading images in RBD: each byte from the store once, all of them right, in bounded memory.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Cluster, Glancefs, Start, eventually};

const MIB: u64 = 1 << 20;

fn mount_with(cluster: &Cluster, timeout: u32, more: &str) -> Glancefs {
    let config = format!(
        "[glance_store]\nstores = rbd\ndefault_store = rbd\nrbd_store_user = glance\n\
         rbd_store_ceph_conf = {}\nrados_connect_timeout = {timeout}\n\
         rbd_thin_provisioning = true\n[glancefs]\n{more}\n",
        cluster.conf().display()
    );
    Start::default().config(&config).with_api().mount()
}

/// What `glancefs status` says of the block cache.
fn cache(fs: &Glancefs) -> Value {
    let mut status = Command::new(env!("CARGO_BIN_EXE_glancefs"));
    status.args(["status", "--json", "--state-dir"]).arg(fs.state_dir());
    let said = status.output().unwrap().stdout;
    serde_json::from_slice::<Value>(&said).unwrap()["cache"].clone()
}

fn fetched_bytes(fs: &Glancefs) -> u64 {
    cache(fs)["fetched_bytes"].as_u64().unwrap()
}

/// The daemon's own memory, without what it shares with others: bytes.
fn memory(fs: &Glancefs) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", fs.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn each_byte_is_read_from_the_store_once_whoever_reads_and_holes_never() {
    let cluster = Cluster::start("memstore");
    let mut fs = mount_with(&cluster, 10, "");
    fs.noise("seed", 24 * MIB as usize);
    fs.sh("cp seed $M/stream; cp seed $M/herd; cp seed $M/direct
           truncate -s 1G sparse; dd if=seed of=sparse bs=1M count=1 seek=700 conv=notrunc status=none
           cp sparse $M/sparse");
    fs.restart();
    fs.sh("cmp seed $M/stream");
    assert_eq!(fetched_bytes(&fs), 24 * MIB);
    // Past the kernel's cache, so that each of them asks us for all of it.
    fs.sh("for n in $(seq 50); do dd if=$M/direct bs=1M iflag=direct status=none | md5sum & done |
           sort -u >sums; wait; test $(wc -l <sums) = 1
           test \"$(md5sum <seed)\" = \"$(cat sums)\"");
    assert_eq!(fetched_bytes(&fs), 48 * MIB);
    fs.sh(&format!(
        "curl -s http://{}/v2/images/{}/file >herd & cmp seed $M/herd & wait; cmp seed herd",
        fs.api.unwrap(),
        fs.image("herd").id
    ));
    assert_eq!(fetched_bytes(&fs), 72 * MIB);
    fs.sh("dd if=$M/sparse bs=1M count=8 status=none | cmp - -n 8388608 /dev/zero
           dd if=$M/sparse bs=1M skip=690 count=20 status=none >part
           dd if=sparse bs=1M skip=690 count=20 status=none | cmp - part");
    assert_eq!(fetched_bytes(&fs), 73 * MIB);
}

/// Reads all of it at random, in all sizes, by eight processes; each block says what has to be in it.
const VERIFY: &str = "fio --name=v --filename=$M/blocks --readonly --rw=randread --size=64M \
    --bsrange=4k-512k --blockalign=4k --direct=$DIRECT --ioengine=psync --numjobs=8 \
    --verify=crc32c --verify_interval=4096 --verify_fatal=1 --loops=$LOOPS --group_reporting \
    >fio.out 2>&1 || { cat fio.out; exit 1; }
    grep -q 'err= 0' fio.out";

fn put_blocks(fs: &Glancefs) {
    fs.sh("fio --name=v --filename=blocks --size=64M --rw=write --bs=64k --verify=crc32c \
           --verify_interval=4096 --do_verify=0 >/dev/null
           cp blocks $M/blocks");
}

fn verify(direct: u8, loops: u8) -> String {
    format!("DIRECT={direct}; LOOPS={loops}; {VERIFY}")
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn every_byte_is_right_when_blocks_are_given_up_all_the_time() {
    let cluster = Cluster::start("memstore");
    let mut fs = mount_with(&cluster, 10, "block_cache_size = 8388608");
    put_blocks(&fs);
    fs.restart();
    fs.sh(&verify(1, 2));
    fs.sh(&verify(0, 1));
    let cache = cache(&fs);
    assert!(cache["used"].as_u64().unwrap() <= 8 * MIB, "{cache}");
    assert!(cache["fetched_bytes"].as_u64().unwrap() > 64 * MIB, "blocks were given up: {cache}");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn every_byte_is_right_when_the_osd_is_started_anew_meanwhile() {
    let cluster = Cluster::start("bluestore");
    let mut fs = mount_with(&cluster, 60, "block_cache_size = 8388608");
    put_blocks(&fs);
    fs.restart();
    let reading = fs.spawn(&verify(1, 12));
    eventually("it reads", || fetched_bytes(&fs) > 8 * MIB);
    cluster.act("kill-osd");
    cluster.act("start-osd");
    let done = reading.wait();
    assert!(done.ok(), "{done:?}");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn many_readers_of_many_images_stay_within_the_bound() {
    let cluster = Cluster::start("memstore");
    let mut fs = mount_with(&cluster, 30, "block_cache_size = 33554432");
    fs.noise("seed", 12 * MIB as usize);
    fs.sh("for n in $(seq 64); do cp seed $M/image$n; done");
    fs.restart();
    fs.sh("ls $M >/dev/null; cmp seed $M/image1");
    let before = memory(&fs);
    let mut reading =
        fs.spawn("for n in $(seq 64); do cmp seed $M/image$n || echo image$n & done; wait");
    let mut most = 0;
    while !reading.has_ended() {
        most = most.max(memory(&fs));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let done = reading.wait();
    assert!(done.ok() && done.stdout.is_empty(), "{done:?}");
    let more = most.saturating_sub(before) / MIB;
    println!("{more} MiB more than with one reader");
    assert!(more <= 32 + 64, "{more} MiB");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn a_thousand_clients_that_take_nothing_hold_little_memory() {
    let cluster = Cluster::start("memstore");
    let fs = mount_with(&cluster, 30, "block_cache_size = 33554432");
    fs.noise("seed", 16 * MIB as usize);
    fs.sh("cp seed $M/a; cmp seed $M/a");
    let (before, id) = (memory(&fs), fs.image("a").id);
    let request = format!("GET /v2/images/{id}/file HTTP/1.1\r\nHost: x\r\n\r\n");
    let clients: Vec<TcpStream> = (0..1000)
        .map(|_| {
            let mut client = TcpStream::connect(fs.api.unwrap()).unwrap();
            client.write_all(request.as_bytes()).unwrap();
            client
        })
        .collect();
    // One more is served all the same.
    fs.sh(&format!("curl -s http://{}/v2/images/{id}/file | cmp - seed", fs.api.unwrap()));
    let more = memory(&fs).saturating_sub(before) / MIB;
    println!("{more} MiB for {} clients", clients.len());
    assert!(more <= 300, "{more} MiB");
}

#[test]
#[ignore = "needs Ceph; scripts/test runs it"]
fn prometheus_is_told_what_is_read_and_written() {
    let cluster = Cluster::start("memstore");
    let fs = mount_with(&cluster, 30, "metrics_listen = 127.0.0.1:0");
    fs.noise("seed", MIB as usize);
    fs.sh("cp seed $M/a; cmp seed $M/a");
    fs.sh(&format!("curl -s http://{}/v2/images/{} >/dev/null", fs.api.unwrap(), fs.image("a").id));
    let log = fs.log();
    let address = log.split("metrics answer at /metrics address=").nth(1).unwrap();
    let address: SocketAddr = address.lines().next().unwrap().trim().parse().unwrap();
    let mut scrape = TcpStream::connect(address).unwrap();
    scrape.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut figures = String::new();
    scrape.read_to_string(&mut figures).unwrap();
    for line in [
        "glancefs_images 1",
        "glancefs_store_read_bytes_total{store=\"rbd\"} 1048576",
        "glancefs_read_bytes_total{face=\"mount\"} 1048576",
        "glancefs_uploads_total{store=\"rbd\",outcome=\"active\"} 1",
        "glancefs_upload_bytes_total{store=\"rbd\"} 1048576",
        "glancefs_http_requests_total{method=\"GET\",status=\"200\"} 1",
        "glancefs_store_read_seconds_count{store=\"rbd\"} 1",
        "glancefs_cache_used_bytes 1048576",
    ] {
        assert!(figures.lines().any(|said| said == line), "{line} in\n{figures}");
    }
}
