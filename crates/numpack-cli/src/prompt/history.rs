//! Where the prompt keeps what was typed.
use std::path::PathBuf;

/// The file of the history, whose directory is there; none where there is no place for it.
pub(super) fn file() -> Option<PathBuf> {
    let named = |name| {
        let value = std::env::var_os(name).map(PathBuf::from);
        value.filter(|path| path.is_absolute())
    };
    let state = named("XDG_STATE_HOME").or_else(|| Some(named("HOME")?.join(".local/state")))?;
    let dir = state.join("numpack");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("history"))
}
