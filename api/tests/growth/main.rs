//! No body is dearer than its size: eight times the input costs at most sixteen times the memory and allocations, and no more
//! time than something linear may. Every reader, patch, validator and table is held to it, server-side apply, and kinds that
//! are defined at run time.

mod apply;
mod defined;
mod measure;
mod patches;
mod readers;
mod validators;
