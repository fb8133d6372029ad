//! No body is dearer than its size: ten times the input costs at most twenty times the memory and allocations, and no more
//! time than something linear may. Every reader, patch, validator and table is held to it, and server-side apply.

mod apply;
mod measure;
mod patches;
mod readers;
mod validators;
