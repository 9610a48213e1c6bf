use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use numpack_arrow::ColumnReader;
use numpack_engine::ArraySnapshot;

use crate::error::Result;
use crate::item::position_in;
use crate::relation::{COLUMNS, Relation};
use crate::zones::{self, Bounds, Zones};

/// Something that a scan can read of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaf {
    /// The row's position.
    RowId,
    /// A column of the relation.
    Column(usize),
    /// One value, counted from 0, of a column of lists.
    Item { column: usize, position: usize },
}

/// What a scan reads, each leaf once; filters and output name leaves by their place in here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaves {
    leaves: Vec<Leaf>,
    fields: Vec<FieldRef>,
}

impl Leaves {
    /// The place of `leaf`, which is added if it is new.
    pub(crate) fn place(&mut self, relation: &Relation, leaf: Leaf) -> usize {
        if let Some(place) = self.leaves.iter().position(|&known| known == leaf) {
            return place;
        }
        let fields = relation.schema().fields();
        self.fields.push(match leaf {
            Leaf::RowId => Arc::clone(&fields[relation.arrays().len()]),
            Leaf::Column(column) => Arc::clone(&fields[column]),
            Leaf::Item { column, position } => item_field(&fields[column], position),
        });
        self.leaves.push(leaf);
        self.leaves.len() - 1
    }

    /// The place of the value that `index` names of the lists at `place`; None for an index that
    /// is out of range.
    pub(crate) fn item(&mut self, relation: &Relation, place: usize, index: i64) -> Option<usize> {
        let Leaf::Column(column) = self.leaves[place] else {
            return None;
        };
        let position = position_in(self.fields[place].data_type(), index)?;
        Some(self.place(relation, Leaf::Item { column, position }))
    }

    pub(crate) fn len(&self) -> usize {
        self.leaves.len()
    }

    pub(crate) fn get(&self, place: usize) -> Leaf {
        self.leaves[place]
    }

    pub(crate) fn field(&self, place: usize) -> &FieldRef {
        &self.fields[place]
    }

    /// What they are called in texts.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name().as_str())
    }

    /// The place of `row_id`, if it is read.
    pub(crate) fn row_id(&self) -> Option<usize> {
        self.leaves.iter().position(|&leaf| leaf == Leaf::RowId)
    }

    /// The schema of the leaves at these places.
    pub(crate) fn schema(&self, places: &[usize]) -> SchemaRef {
        let fields = places.iter().map(|&place| Arc::clone(&self.fields[place]));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// One reader a leaf; None for `row_id`.
    pub(crate) fn readers(&self, relation: &Relation) -> Result<Vec<Option<ColumnReader>>> {
        let reader = |place| {
            let Some((array, position)) = self.array(relation, place) else {
                return Ok(None);
            };
            Ok(Some(match position {
                None => ColumnReader::new(array, &COLUMNS)?,
                Some(position) => ColumnReader::item(array, position, &COLUMNS)?,
            }))
        };
        (0..self.leaves.len()).map(reader).collect()
    }

    /// The array of a leaf, and the value of each of its rows that is read where not all are; None
    /// for `row_id`.
    fn array<'a>(
        &self,
        relation: &'a Relation,
        place: usize,
    ) -> Option<(&'a ArraySnapshot, Option<usize>)> {
        let (column, position) = match self.leaves[place] {
            Leaf::RowId => return None,
            Leaf::Column(column) => (column, None),
            Leaf::Item { column, position } => (column, Some(position)),
        };
        Some((relation.array(column)?, position))
    }

    /// What is known of the blocks of a leaf, and can be added to; None for one that has no order.
    pub(crate) fn zones(&self, relation: &Relation, place: usize) -> Option<Arc<Zones>> {
        let (array, position) = self.array(relation, place)?;
        zones::zones(array, position, self.fields[place].data_type())
    }

    /// The smallest and the largest value of a leaf, as far as scans have seen all of it.
    pub(crate) fn bounds(&self, relation: &Relation, place: usize) -> Option<Bounds> {
        let (array, position) = self.array(relation, place)?;
        Some(zones::known(array, position)?.bounds())
    }

    /// Whether reading neighbours copies them.
    pub(crate) fn is_copied(&self, place: usize) -> bool {
        let bits = self.fields[place].data_type() == &DataType::Boolean;
        bits || matches!(self.leaves[place], Leaf::Item { .. })
    }

    /// Bytes that a leaf costs to read a row of.
    pub(crate) fn row_bytes(&self, relation: &Relation, place: usize) -> usize {
        match self.leaves[place] {
            Leaf::RowId => size_of::<i64>(),
            Leaf::Column(column) => relation.array(column).map_or(0, ArraySnapshot::row_bytes),
            // A value drags its whole cache line in.
            Leaf::Item { .. } => 64,
        }
    }
}

/// The field of a list's value, named as a query names it.
fn item_field(list: &Field, position: usize) -> FieldRef {
    let data_type = match list.data_type() {
        DataType::FixedSizeList(child, _) => child.data_type().clone(),
        other => other.clone(),
    };
    let name = format!("{}[{}]", list.name(), position + 1);
    Arc::new(Field::new(name, data_type, true))
}
