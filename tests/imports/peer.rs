//! `glance-download`: from the Glance of another region, which is another glancefs here.

use std::net::SocketAddr;
use std::sync::Arc;

use glancefs::api::{Api, Identity, Settings, Stranger, serve};
use glancefs::catalog::model::{ImageId, Status};
use glancefs::identity::{Credentials, Endpoint, Secret};
use glancefs::images::ImportOptions;
use glancefs::images::fields::Edit;
use glancefs::images::import::{ImportRequest, Method, PeerImage};

use crate::{DATA, Site, core, owner, request};

const TOKEN: &str = "gAAAA-of-the-owner";

/// Serves a site to whoever has the token.
fn serve_site(site: &Site) -> SocketAddr {
    let identity = Identity::FromHeaders(Arc::new(|headers| {
        let known = headers.get("x-auth-token").is_some_and(|token| token == TOKEN);
        let who =
            if known { Ok(owner()) } else { Err(Stranger::Unauthenticated { challenge: None }) };
        Box::pin(async move { who })
    }));
    let metadefs = core::metadefs(site.directory.path());
    let api = Arc::new(Api::new(site.images.clone(), metadefs, identity, Settings::default()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve(listener, api, std::future::pending()).await.unwrap();
        });
    });
    address
}

/// One that has the image, and one that wants it.
fn regions() -> (Site, Site, SocketAddr) {
    let import = ImportOptions { peer_properties: vec!["hw_".to_string()], ..Default::default() };
    let (there, here) = (Site::new(), Site::with(import));
    let address = serve_site(&there);
    (there, here, address)
}

fn from(address: SocketAddr, region: &str, image: ImageId, token: &str) -> ImportRequest {
    let endpoint = Endpoint {
        region: "There".to_string(),
        interface: "public".to_string(),
        url: format!("http://{address}/"),
    };
    let peer = PeerImage {
        region: Some(region.to_string()),
        image: Some(image.to_string()),
        interface: "public".to_string(),
        credentials: Some(Credentials {
            token: Secret::new(token),
            image_endpoints: Arc::new([endpoint]),
        }),
    };
    request(Method::GlanceDownload(peer), true)
}

#[test]
fn an_image_of_another_region_comes_with_its_formats_and_some_properties() {
    let (there, here, address) = regions();
    let source = there.active();
    for (name, value) in [("hw_disk_bus", "scsi"), ("other", "1")] {
        let edit = Edit::Add { name: name.to_string(), value: value.into(), fresh: true };
        there.images.update(&owner(), source, &[edit]).unwrap();
    }
    let id = here.queued("qcow2");
    here.import(id, &from(address, "there", source, TOKEN)).unwrap();
    let image = here.ended(id);
    assert_eq!((image.status, image.size), (Status::Active, Some(DATA.len() as u64)));
    assert_eq!(image.disk_format.as_deref(), Some("raw"));
    assert_eq!(image.properties["hw_disk_bus"], "scsi");
    assert!(!image.properties.contains_key("other"));
    assert_eq!(image.checksum, there.image(source).checksum);
}

#[test]
fn what_cannot_be_had_there_leaves_the_image_queued() {
    let (there, here, address) = regions();
    let (source, unfinished) = (there.active(), there.queued("raw"));
    for (region, image, token) in [
        ("Elsewhere", source, TOKEN),
        ("There", ImageId::random(), TOKEN),
        ("There", unfinished, TOKEN),
        ("There", source, "a wrong one"),
    ] {
        let id = here.queued("raw");
        here.import(id, &from(address, region, image, token)).unwrap();
        let now = here.ended(id);
        assert_eq!((now.status, now.size), (Status::Queued, None), "{region} {image} {token}");
        assert!(!format!("{:?}", here.task(id)).contains("gAAAA"));
    }
}
