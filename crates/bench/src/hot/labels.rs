//! The labels of the rows with labels: three methods and eight paths, as enums of ours and as text for everybody.
//!
//! Invariant: the text is spelled as our text labels spell it, so that every side hashes and compares the same bytes.

use metricsd_client::{label_set, label_text, label_value};

use crate::rounds::THREADS_MAX;

label_value! {
    /// A method.
    pub(crate) enum Method { Get = "get", Post = "post", Put = "put" }
}
label_value! {
    /// A path.
    pub(crate) enum Path {
        Users = "api.v1.users",
        User = "api.v1.users.id",
        Products = "api.v1.products",
        Product = "api.v1.products.id",
        Orders = "api.v1.orders",
        Order = "api.v1.orders.id",
        Login = "login",
        Health = "healthz",
    }
}
label_text! {
    /// A method that arrives as text.
    pub(crate) struct MethodText { spelling: Lower, len_max_bytes: 32, values_max: 8 }
}
label_text! {
    /// A path that arrives as text.
    pub(crate) struct PathText { spelling: Lower, len_max_bytes: 32, values_max: 32 }
}
label_value! {
    /// Gives each thread a series of its own.
    pub(crate) enum Owner { A = "a", B = "b", C = "c", D = "d", E = "e", F = "f", G = "g", H = "h" }
}
label_set! {
    /// Both as enums.
    pub(crate) struct EnumLabels { method: Method, path: Path }
}
label_set! {
    /// Both as text.
    pub(crate) struct TextLabels { method: MethodText, path: PathText }
}
label_set! {
    /// One series for each thread.
    pub(crate) struct OwnerLabels { owner: Owner }
}

const _: () = assert!(Owner::ALL.len() == THREADS_MAX, "a series for each thread");

/// The methods as text.
pub(crate) const METHODS: [&str; 3] = ["get", "post", "put"];
/// The paths as text.
pub(crate) const PATHS: [&str; 8] = [
    "api.v1.users",
    "api.v1.users.id",
    "api.v1.products",
    "api.v1.products.id",
    "api.v1.orders",
    "api.v1.orders.id",
    "login",
    "healthz",
];

label_text! {
    /// One of the series that are recorded into in turn.
    pub(crate) struct Turn { spelling: Lower, len_max_bytes: 8, values_max: 64 }
}
label_set! {
    /// One series for each turn.
    pub(crate) struct TurnLabels { turn: Turn }
}
