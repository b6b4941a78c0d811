//! From an order to the call that carries it out.

mod facts;
mod learn;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ironwright_api::{Blame, Failure, Image, NodeRaid, Order, Work};

pub use facts::{DiskFact, Facts, Object, SlowFacts};

use crate::deploy::RootDisk;
use crate::erase::certificate::Notary;
use crate::heartbeat::{Crew, OrderDesk};
use crate::image::Http;
use crate::plugin::supply::Supply;
use crate::raid::{self, Arrays};
use crate::report::chain;
use crate::sys::System;
use crate::{clean, deploy, rescue, tls};
use learn::Learning;

/// Where the last image of an agent process went.
#[derive(Debug, Clone)]
pub struct LastImage {
    /// The disk.
    pub disk: RootDisk,
    /// Whether the image went to a partition of its own.
    pub is_partition_image: bool,
}

/// This machine as a crew: carries out orders with the real disks of its [`System`].
#[derive(Debug)]
pub struct Machine {
    system: Arc<System>,
    http: reqwest::Client,
    /// The coordinator's certificate, which may serve images too.
    pin: Option<[u8; 32]>,
    facts: Mutex<Arc<Facts>>,
    notary: Option<Notary>,
    plugins: Supply,
    learning: Learning,
    written: Mutex<Option<LastImage>>,
    /// What the node's record says of its arrays.
    raid: Mutex<NodeRaid>,
}

impl Machine {
    /// `http` fetches images and config drives; `facts` were collected from `system`.
    #[must_use]
    pub fn new(system: Arc<System>, http: reqwest::Client, facts: Facts) -> Self {
        Self {
            system,
            http,
            pin: None,
            facts: Mutex::new(Arc::new(facts)),
            notary: None,
            plugins: Supply::default(),
            learning: Learning::default(),
            written: Mutex::default(),
            raid: Mutex::default(),
        }
    }

    /// The same, trusting the certificate with this SHA-256.
    #[must_use]
    pub fn trusting(self, pin: Option<[u8; 32]>) -> Self {
        Self { pin, ..self }
    }

    /// The client for one image: its credentials, proxies and authorities.
    ///
    /// # Errors
    /// A [`Failure`] that names what of the order's image access cannot be used.
    pub fn image_http(&self, image: &Image) -> Result<Http, Failure> {
        let refuse = |why: &dyn std::error::Error| Failure {
            step: String::new(),
            message: format!("nothing was changed: {}", chain(why)),
            remedy: "correct how the image is reached: its authorization, proxies or authorities"
                .to_owned(),
            blame: Blame::Order,
        };
        let client = match &image.access {
            None => self.http.clone(),
            Some(access) => tls::image_client(self.pin, Path::new(tls::CA_BUNDLE), access)
                .map_err(|error| refuse(&error))?,
        };
        Http::of(client, image).map_err(|error| refuse(&error))
    }

    /// Signs its certificates with the key of this boot.
    #[must_use]
    pub fn with_notary(mut self, notary: Notary) -> Self {
        self.notary = Some(notary);
        self
    }

    /// Listens to the switches for so long, instead of [`crate::inventory::LISTEN`].
    #[must_use]
    pub fn listening(self, patience: Duration) -> Self {
        Self { learning: Learning::new(patience), ..self }
    }

    /// Takes the orders' plugins from `supply`.
    #[must_use]
    pub fn with_plugins(self, plugins: Supply) -> Self {
        Self { plugins, ..self }
    }

    /// Where the orders' plugins come from, and whose are trusted.
    #[must_use]
    pub fn plugins(&self) -> &Supply {
        &self.plugins
    }

    /// Who signs certificates; none where no coordinator is spoken to.
    #[must_use]
    pub fn notary(&self) -> Option<&Notary> {
        self.notary.as_ref()
    }

    /// Where orders act.
    #[must_use]
    pub fn system(&self) -> &Arc<System> {
        &self.system
    }

    /// Fetches images and config drives.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Notes where an image went.
    pub fn remember(&self, image: LastImage) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
    }

    /// Where the last image of this agent process went.
    #[must_use]
    pub fn written(&self) -> Option<LastImage> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the node's record says of its arrays.
    pub fn set_raid(&self, raid: NodeRaid) {
        *self.raid.lock().unwrap_or_else(PoisonError::into_inner) = raid;
    }

    /// What the node's record says of its arrays.
    #[must_use]
    pub fn raid(&self) -> NodeRaid {
        self.raid.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The facts as they were collected last.
    #[must_use]
    pub fn facts(&self) -> Arc<Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Starts the arrays that the node has; none where it has none.
    ///
    /// # Errors
    /// A [`Failure`] that names the array that is not there with all of its members.
    pub async fn start_arrays(&self) -> Result<Option<Arrays>, Failure> {
        let (system, config) = (self.system.clone(), self.raid().config);
        blocking(move || raid::assemble(&system, &config).map_err(|error| error.failure())).await
    }

    /// Collects the facts anew: disks come and go between orders.
    ///
    /// # Errors
    /// A [`Failure`] when the collecting thread died.
    pub async fn look_again(&self) -> Result<Arc<Facts>, Failure> {
        let system = self.system.clone();
        let facts = blocking(move || Ok(Arc::new(Facts::collect(&system)))).await?;
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&facts);
        Ok(facts)
    }
}

impl Crew for Machine {
    async fn carry_out(&self, order: Order, desk: OrderDesk) -> Result<(), Failure> {
        self.set_raid(order.raid.as_deref().cloned().unwrap_or_default());
        match &order.work {
            Work::Inspect => {
                // An inspection is complete or says nothing: whoever asked for it powers the machine off next.
                self.learning.done().await;
                self.look_again().await?;
                desk.introduce();
                Ok(())
            }
            // The futures of a deploy are large and live long.
            Work::Deploy(work) => {
                Box::pin(deploy::carry_out(self, work, &order.steps, &desk)).await
            }
            Work::Clean(work) => Box::pin(clean::carry_out(self, work, &order.steps, &desk)).await,
            Work::Service(work) => Box::pin(clean::service(self, work, &order.steps, &desk)).await,
            Work::Rescue(work) => rescue::carry_out(&self.system, work, &desk).await,
            Work::Unknown => Err(unknown()),
        }
    }

    async fn give_up(&self, order: &Order, failure: Failure) -> Failure {
        let puts_an_image = match &order.work {
            Work::Deploy(_) => true,
            Work::Service(work) => work.steps.iter().any(|step| step.step == "write_image"),
            Work::Inspect | Work::Clean(_) | Work::Rescue(_) | Work::Unknown => false,
        };
        if !puts_an_image {
            return failure;
        }
        // An order that was not begun again left nothing to know of it.
        if self.raid() == NodeRaid::default() {
            self.set_raid(order.raid.as_deref().cloned().unwrap_or_default());
        }
        deploy::give_up(self, &order.steps, failure).await
    }

    fn inventory(&self) -> serde_json::Value {
        self.facts().document(&self.learning.so_far())
    }

    fn rests(&self) -> bool {
        rescue::is_open(&self.system)
    }

    async fn learn(&self, told: impl Fn() + Send) {
        self.learning.run(&self.system, self.facts(), told).await;
    }
}

/// The api drops the name of a kind it does not know; the refusal names what is known.
fn unknown() -> Failure {
    Failure {
        step: String::new(),
        message: format!(
            "nothing was changed: the order's kind of work is unknown to agent {} (it knows inspect, deploy, clean, service and rescue)",
            env!("CARGO_PKG_VERSION")
        ),
        remedy: "build the ramdisk from the coordinator's version".to_owned(),
        blame: Blame::Order,
    }
}

/// Runs `work` where blocking is allowed. A panic in it is a failure, not the end of the worker.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Failure {
            step: String::new(),
            message: format!("the agent's worker thread died: {error}"),
            remedy: "this is a defect of the agent: report it with the machine's console"
                .to_owned(),
            blame: Blame::Internal,
        }),
    }
}
