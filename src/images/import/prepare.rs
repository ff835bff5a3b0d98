//! What happens to data before it goes to any store: it is fetched where it has to be, and the
//! operator's plugins have their way with it.
//!
//! What is made on the way has no name, so that a crash leaves nothing of it; what was staged keeps
//! its name until the import is over.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use super::flow::NOTICE;
use super::plugins::Plugins;
use super::unnamed::unnamed_file;
use super::watch::Watch;
use super::workers::Running;
use super::{Job, Method};
use crate::catalog::model::Image;
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::Images;
use crate::images::quota::totals::Hold;
use crate::store::ImageReader;
use crate::store::file::reader_of;

/// Data that is ready for the stores.
pub(super) struct Prepared {
    pub(super) data: Arc<dyn ImageReader>,
    pub(super) alterations: Alterations,
}

/// Glance: plugins set properties with an administrator's rights.
fn elevated(by: RequestContext) -> RequestContext {
    let mut roles = by.roles;
    roles.push("admin".to_string());
    RequestContext { admin: true, roles, ..by }
}

/// What plugins have changed in the record.
pub(super) struct Alterations {
    before: Image,
    after: Image,
}

impl Alterations {
    /// Changes a record likewise, which somebody else may have changed meanwhile.
    pub(super) fn apply(&self, image: &mut Image) {
        let Self { before, after } = self;
        if before.disk_format != after.disk_format {
            image.disk_format.clone_from(&after.disk_format);
        }
        if before.container_format != after.container_format {
            image.container_format.clone_from(&after.container_format);
        }
        for (name, value) in &after.properties {
            if before.properties.get(name) != Some(value) {
                image.properties.insert(name.clone(), value.clone());
            }
        }
        image.size = after.size;
    }
}

impl Images {
    /// Gets the data of an image, within `quota`, and does to it what the operator wants.
    ///
    /// # Errors
    /// Those of web-download, of the staging area and of plugins; `Gone` when the import is to end.
    pub(super) fn prepare(
        &self,
        job: &mut Job,
        image: &Image,
        running: &Running,
        quota: Option<&Hold>,
    ) -> Result<Prepared> {
        let watch = running.watch();
        let area = self.staging()?;
        let plugins = Plugins {
            list: self.options.import.plugins.clone(),
            directory: area.directory().to_owned(),
            size_cap: self.options.image_size_cap,
        };
        let (id, by, method) = (job.image, job.by.clone(), job.method.clone());
        self.noting(job, watch, || {
            let mut after = image.clone();
            let staged = match &method {
                Method::WebDownload { uri } => {
                    self.fetch(uri.as_deref(), &plugins, watch, quota)?
                }
                Method::GlanceDownload(peer) => {
                    self.fetch_from_peer(peer, &mut after, &plugins, watch, quota)?
                }
                Method::Direct | Method::Copy | Method::Location { .. } => area.file(id)?,
            };
            let data = plugins.run(&by, &mut after, staged, watch)?;
            self.check_draft(&elevated(by.clone()), image, &after)?;
            let data = reader_of(data, format!("the data of image {id}"))?;
            after.size = Some(data.size());
            Ok(Prepared { data, alterations: Alterations { before: image.clone(), after } })
        })
    }

    fn fetch(
        &self,
        uri: Option<&str>,
        plugins: &Plugins,
        watch: &Watch,
        quota: Option<&Hold>,
    ) -> Result<File> {
        let file = unnamed_file(&plugins.directory)?;
        let (uri, cap) = (uri.unwrap_or_default(), plugins.size_cap);
        self.web.download(uri, cap, watch, &mut self.appending(&file, quota))?;
        Ok(file)
    }

    /// Writes one piece after the other, as far as the project's quota lets it.
    pub(super) fn appending(
        &self,
        file: &File,
        quota: Option<&Hold>,
    ) -> impl FnMut(&[u8]) -> Result<()> {
        let mut length = 0;
        move |piece| {
            let (at, end) = (length, length + piece.len() as u64);
            quota.map_or(Ok(()), |quota| quota.set(&*self.catalog, end))?;
            length = end;
            file.write_all_at(piece, at).map_err(Error::io("write", "downloaded data"))
        }
    }

    /// Does something that may take long, and notes now and then that the task goes on.
    fn noting<T: Send>(
        &self,
        job: &mut Job,
        watch: &Watch,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let (done, ended) = mpsc::channel::<()>();
        let work = move || {
            // Dropped at the end, whichever it is, and so heard.
            let _done = done;
            work()
        };
        thread::scope(|scope| {
            let named = thread::Builder::new().name("import-data".to_owned());
            let worker = named.spawn_scoped(scope, work).map_err(Error::io("start", "a thread"))?;
            let mut noted = Ok(());
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(NOTICE) {
                let message = job.task.message.clone();
                noted = noted.and_then(|()| self.note(job, message));
                if noted.is_err() {
                    watch.call_off();
                }
            }
            let outcome = worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            noted.and(outcome)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::ImageId;

    #[test]
    fn only_what_a_plugin_changed_is_changed() {
        let mut before = Image::new(ImageId::random(), None);
        before.disk_format = Some("qcow2".into());
        before.container_format = Some("bare".into());
        before.properties.insert("same".into(), "old".into());
        let mut after = before.clone();
        after.disk_format = Some("raw".into());
        after.properties.insert("new".into(), "1".into());
        after.size = Some(7);
        let mut record = before.clone();
        record.name = Some("renamed meanwhile".into());
        record.properties.insert("same".into(), "newer".into());
        Alterations { before, after }.apply(&mut record);
        assert_eq!(record.disk_format.as_deref(), Some("raw"));
        assert_eq!(record.name.as_deref(), Some("renamed meanwhile"));
        assert_eq!((record.properties["same"].as_str(), record.size), ("newer", Some(7)));
        assert_eq!(record.properties["new"], "1");
    }
}
