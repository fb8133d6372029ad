//! Tables for [`super::step`]: what is done and shown in each state of a pod.

mod actions;
mod converge;
mod resize;
mod status;
mod world;
