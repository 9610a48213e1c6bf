//! Our tables for libraries that were built with another copy of the same DataFusion.

use std::sync::{Arc, LazyLock};

use datafusion::catalog::TableProvider;
pub use datafusion_ffi::proto::logical_extension_codec::FFI_LogicalExtensionCodec;
pub use datafusion_ffi::table_provider::FFI_TableProvider;

use crate::error::Result;
use crate::runtime::Threads;

/// Apart from those of queries of ours: a foreign session keeps a handle on them for as long as it likes.
static THREADS: LazyLock<Threads> = LazyLock::new(|| Threads::new(None));

/// The major version of DataFusion whose structs these are. Another one lays them out differently.
pub fn datafusion_major() -> u64 {
    datafusion_ffi::version()
}

/// A table in the form that crosses the border, for the session that `codec` belongs to.
///
/// # Errors
/// [`SqlError::Threads`](crate::SqlError::Threads): its streams run on threads of ours.
pub fn table_provider(
    table: Arc<dyn TableProvider>,
    codec: FFI_LogicalExtensionCodec,
) -> Result<FFI_TableProvider> {
    let runtime = THREADS.pool()?.handle().clone();
    Ok(FFI_TableProvider::new_with_ffi_codec(
        table,
        true,
        Some(runtime),
        codec,
    ))
}
