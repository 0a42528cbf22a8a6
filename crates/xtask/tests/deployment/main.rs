//! What is deployed: the units, accounts and permissions of `ops/systemd`, the containers of `ops/compose` and the manifests of `ops/kubernetes`.
//! The shipped files are read, so a test fails when one of them changes to what does not work.

mod accounts;
mod manifests;
mod packages;
mod unit;
mod units;
