//! Rows of one column on their way from a plan into an array.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result as DataFusionResult, resources_err};
use datafusion::execution::TaskContext;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::spill_file::SpillFile;
use numpack_arrow::{ArrowRows, Error as ArrowRowsError};
use numpack_engine::{Error as EngineError, RowSource};
use numpack_format::ArrayMeta;

use crate::error::{Result, SqlError};

/// How much of a spilled column is read at once.
const PIECE: usize = 1 << 20;

/// Rows of fewer bytes are copied together: a few rows may be all that is wanted of a large buffer.
const KEPT: usize = 64 << 10;

/// The rows so far, as a store has them: the first ones in a file when memory became short.
pub(crate) struct Values {
    field: FieldRef,
    /// Dtype and shape of the first rows.
    meta: Option<ArrayMeta>,
    rows: u64,
    nulls: usize,
    memory: Vec<Piece>,
    in_memory: usize,
    spilled: Option<Spilled>,
}

/// Some rows, one after another.
enum Piece {
    /// As the plan gave them, which may be pages of a store.
    Given(ArrowRows),
    Copied(Vec<u8>),
}

struct Spilled {
    spill: Arc<dyn SpillFile>,
    file: File,
}

impl Values {
    /// No rows yet of a column of the field's type.
    pub(crate) fn new(field: &FieldRef) -> Self {
        Self {
            field: Arc::clone(field),
            meta: None,
            rows: 0,
            nulls: 0,
            memory: Vec::new(),
            in_memory: 0,
            spilled: None,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.field.name()
    }

    /// Adds rows. Nulls are counted, for one error at the end, and then nothing more is kept.
    pub(crate) fn push(&mut self, array: &ArrayRef) -> DataFusionResult<()> {
        let array = self.conform(array)?;
        let rows = match ArrowRows::new(&self.field, &[array]) {
            Ok(rows) => rows,
            Err(ArrowRowsError::Nulls { nulls, .. }) => {
                self.nulls += nulls;
                return Ok(());
            }
            Err(error) => return Err(SqlError::from(error).into()),
        };
        if self.nulls > 0 {
            return Ok(());
        }
        let meta = rows.meta();
        if let Some(first) = &self.meta
            && first.shape.row_dims() != meta.shape.row_dims()
        {
            return Err(SqlError::from(self.unequal(first, meta)).into());
        }
        self.rows += meta.shape.rows();
        if self.meta.is_none() {
            self.meta = Some(meta.clone());
        }
        let length = usize::try_from(meta.byte_len()).unwrap_or(usize::MAX);
        self.in_memory = self.in_memory.saturating_add(length);
        if length >= KEPT {
            self.memory.push(Piece::Given(rows));
            return Ok(());
        }
        let bytes = rows.to_bytes().map_err(SqlError::from)?;
        match self.memory.last_mut() {
            Some(Piece::Copied(last)) => last.extend_from_slice(&bytes),
            _ => self.memory.push(Piece::Copied(bytes.into_owned())),
        }
        Ok(())
    }

    /// What a plan gives may be of a type beside the array's: fields of lists differ in what they say.
    fn conform(&self, array: &ArrayRef) -> DataFusionResult<ArrayRef> {
        if array.data_type() == self.field.data_type() {
            return Ok(Arc::clone(array));
        }
        let checked = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        Ok(cast_with_options(array, self.field.data_type(), &checked)?)
    }

    fn unequal(&self, first: &ArrayMeta, other: &ArrayMeta) -> ArrowRowsError {
        let width = |meta: &ArrayMeta| {
            let width: u64 = meta.shape.row_dims().iter().product();
            usize::try_from(width).unwrap_or(usize::MAX)
        };
        ArrowRowsError::UnequalLists {
            name: self.name().to_owned(),
            row: self.rows,
            expected: width(first),
            given: width(other),
        }
    }

    /// Bytes of the rows that are not in a file.
    pub(crate) fn in_memory(&self) -> usize {
        self.in_memory
    }

    /// Moves what is in memory to a temporary file.
    fn spill(&mut self, disk: &Arc<DiskManager>) -> DataFusionResult<()> {
        if self.memory.is_empty() {
            return Ok(());
        }
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => none.insert(Spilled::new(disk)?),
        };
        let mut file = &spilled.file;
        for piece in self.memory.drain(..) {
            match piece {
                Piece::Given(rows) => file.write_all(&rows.to_bytes().map_err(SqlError::from)?)?,
                Piece::Copied(bytes) => file.write_all(&bytes)?,
            }
        }
        self.in_memory = 0;
        Ok(())
    }

    /// Dtype and shape of all rows.
    ///
    /// # Errors
    /// The nulls that there were.
    pub(crate) fn meta(&self) -> Result<ArrayMeta> {
        if self.nulls > 0 {
            let (name, nulls) = (self.name().to_owned(), self.nulls);
            return Err(ArrowRowsError::Nulls { name, nulls }.into());
        }
        let none;
        let meta = if let Some(meta) = &self.meta {
            meta
        } else {
            if let DataType::List(_) | DataType::LargeList(_) = self.field.data_type() {
                return Err(SqlError::Usage(format!(
                    "column \"{name}\" of lists has no row that says how long they are: declare the \
                     length, {name} FLOAT[8]",
                    name = self.name()
                )));
            }
            none = ArrowRows::new(&self.field, &[])?.meta().clone();
            &none
        };
        let shape = meta.shape.with_rows(self.rows, meta.dtype);
        Ok(ArrayMeta {
            dtype: meta.dtype,
            shape: shape.map_err(EngineError::from)?,
        })
    }

    /// The rows' bytes in one piece, where none were spilled.
    pub(crate) fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        match self.memory.as_slice() {
            [Piece::Copied(bytes)] => Ok(Cow::Borrowed(bytes)),
            [Piece::Given(rows)] => Ok(rows.to_bytes()?),
            _ => {
                let mut bytes = Vec::with_capacity(self.in_memory);
                self.source().write_to(&mut |piece| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                })?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// All rows, for a transaction.
    pub(crate) fn source(&self) -> ValuesSource<'_> {
        ValuesSource(self)
    }
}

/// Moves what columns hold in memory to temporary files.
pub(crate) fn spill(columns: &mut [Values], context: &TaskContext) -> DataFusionResult<()> {
    for values in columns {
        values.spill(&context.runtime_env().disk_manager)?;
    }
    Ok(())
}

impl Spilled {
    fn new(disk: &Arc<DiskManager>) -> DataFusionResult<Self> {
        let spill = disk.create_tmp_file("keeping rows to be written to a store")?;
        let Some(path) = spill.path() else {
            return resources_err!("rows to be written to a store need a local temporary file");
        };
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self { spill, file })
    }

    fn path(&self) -> &Path {
        self.spill.path().unwrap_or(Path::new(""))
    }
}

/// The rows of a column, file first.
pub(crate) struct ValuesSource<'a>(&'a Values);

impl RowSource for ValuesSource<'_> {
    fn write_to(
        &mut self,
        sink: &mut dyn FnMut(&[u8]) -> numpack_engine::Result<()>,
    ) -> numpack_engine::Result<()> {
        if let Some(spilled) = &self.0.spilled {
            let io = |source| EngineError::Io {
                action: "read",
                path: spilled.path().to_path_buf(),
                source,
            };
            let mut file = &spilled.file;
            file.rewind().map_err(io)?;
            let mut piece = vec![0; PIECE];
            loop {
                let read = file.read(&mut piece).map_err(io)?;
                if read == 0 {
                    break;
                }
                sink(&piece[..read])?;
            }
        }
        for piece in &self.0.memory {
            match piece {
                Piece::Given(rows) => rows.clone().write_to(sink)?,
                Piece::Copied(bytes) => sink(bytes)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, rows, .. } = self;
        write!(f, "{rows} rows of {}", field.name())
    }
}
