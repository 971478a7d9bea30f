//! The data threads: each owns a current-thread runtime, its listeners, its upstream connections and its tasks, so
//! that nothing on the request path is shared but the pools' guard.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use crate::proxy::{Body, Proxy};
use crate::server::{self, Handler, Limits, SharedTls};
use crate::tasks::Tasks;

/// After drain's deadline: for the error events of streams to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What one data thread is made of.
pub struct DataThread {
    /// `data-N`.
    pub name: String,
    /// Each listener of the configuration, bound for this thread.
    pub listeners: Vec<TcpListener>,
    /// `None`: cleartext.
    pub tls: Option<SharedTls>,
    /// The request path.
    pub proxy: Proxy,
    /// Of each connection and of all.
    pub limits: Limits,
    /// Cancelled: stop accepting, drain.
    pub stop: CancellationToken,
    /// Cancelled: drain is over.
    pub deadline: CancellationToken,
    /// The connections of clients, waited for by drain.
    pub served: Tasks,
}

impl DataThread {
    /// Starts the thread; it ends when drain has.
    ///
    /// # Errors
    /// The system has no thread or no runtime for us.
    pub fn start(self) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name(self.name.clone())
            .spawn(move || {
                runtime.block_on(self.run());
                // Whatever is left is idle upstream connections, or was given its time.
                runtime.shutdown_background();
            })
    }

    async fn run(self) {
        for listener in self.listeners {
            let handler = Front(self.proxy.clone());
            self.served.spawn(server::serve(
                listener,
                self.tls.clone(),
                handler,
                self.limits.clone(),
                self.stop.clone(),
                self.served.clone(),
            ));
        }
        self.stop.cancelled().await;
        let over = async {
            self.deadline.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = self.served.finished() => {}
            () = over => {}
        }
    }
}

/// The request path as the server calls it.
#[derive(Clone)]
struct Front(Proxy);

impl Handler for Front {
    type Body = Body;

    fn call(
        &self,
        request: Request<Incoming>,
        _peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send {
        let proxy = self.0.clone();
        async move { proxy.handle(request).await }
    }
}
