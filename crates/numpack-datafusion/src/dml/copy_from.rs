//! `COPY table [(columns)] FROM 'file' [STORED AS format] [OPTIONS (key value, ...)]`, which DataFusion
//! does not have: an INSERT of what the file holds.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::common::{
    Column, DataFusionError, Result as DataFusionResult, plan_datafusion_err, plan_err,
};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::provider_as_source;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, LogicalPlanBuilder, WriteOp};
use datafusion::sql::planner::object_name_to_table_reference;
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ObjectName, Value, ValueWithSpan};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::place::expect_local;
use crate::reach::Reach;
use crate::relation::ROW_ID;

/// A COPY FROM as it was written.
#[derive(Clone, Debug)]
pub(crate) struct CopyFrom {
    table: ObjectName,
    columns: Vec<String>,
    file: String,
    format: Option<String>,
    options: HashMap<String, String>,
}

/// The statement, if it is a COPY FROM; None for every other one.
pub(crate) fn parse(text: &str) -> DataFusionResult<Option<CopyFrom>> {
    // Looked for first, for texts with long vectors take long to cut into tokens.
    let is_copy = |word: &[u8]| word.eq_ignore_ascii_case(b"copy");
    if !text.as_bytes().windows(4).any(is_copy) {
        return Ok(None);
    }
    let dialect = GenericDialect {};
    let Ok(mut parser) = Parser::new(&dialect).try_with_sql(text) else {
        return Ok(None);
    };
    if !parser.parse_keyword(Keyword::COPY) {
        return Ok(None);
    }
    let (Ok(table), Ok(columns)) = (parser.parse_object_name(false), columns(&mut parser)) else {
        return Ok(None);
    };
    if !parser.parse_keyword(Keyword::FROM) {
        return Ok(None);
    }
    rest(&mut parser, table, columns)
        .map(Some)
        .map_err(|error| DataFusionError::SQL(Box::new(error), None))
}

fn columns(parser: &mut Parser<'_>) -> Result<Vec<String>, ParserError> {
    if !parser.consume_token(&Token::LParen) {
        return Ok(Vec::new());
    }
    let names = parser.parse_comma_separated(Parser::parse_identifier)?;
    parser.expect_token(&Token::RParen)?;
    Ok(names.into_iter().map(|name| name.value).collect())
}

fn rest(
    parser: &mut Parser<'_>,
    table: ObjectName,
    columns: Vec<String>,
) -> Result<CopyFrom, ParserError> {
    let file = parser.parse_literal_string()?;
    let mut copy = CopyFrom {
        table,
        columns,
        file,
        format: None,
        options: HashMap::new(),
    };
    loop {
        if parser.parse_keyword(Keyword::STORED) {
            parser.expect_keyword(Keyword::AS)?;
            copy.format = Some(parser.parse_identifier()?.value);
        } else if parser.parse_keyword(Keyword::OPTIONS) {
            parser.expect_token(&Token::LParen)?;
            let options = parser.parse_comma_separated(option)?;
            parser.expect_token(&Token::RParen)?;
            copy.options.extend(options);
        } else {
            break;
        }
    }
    let _semicolon = parser.consume_token(&Token::SemiColon);
    parser.expect_token(&Token::EOF)?;
    Ok(copy)
}

/// `'format.has_header' 'true'` or `format.has_header true`.
fn option(parser: &mut Parser<'_>) -> Result<(String, String), ParserError> {
    let key = match parser.peek_token().token {
        Token::SingleQuotedString(_) => parser.parse_literal_string()?,
        _ => parser.parse_object_name(false)?.to_string(),
    };
    let value = match parser.parse_expr()? {
        SqlExpr::Value(ValueWithSpan { value, .. }) => match value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => text,
            other => other.to_string(),
        },
        other => other.to_string(),
    };
    Ok((key.to_lowercase(), value))
}

impl CopyFrom {
    /// An INSERT of the file's rows.
    pub(crate) async fn plan(&self, state: &SessionState) -> DataFusionResult<LogicalPlan> {
        let statement = || format!("COPY FROM '{}'", self.file);
        Reach::outside(state, statement)?;
        expect_local(&self.file, statement)?;
        let normalize = state.config_options().sql_parser.enable_ident_normalization;
        let table = object_name_to_table_reference(self.table.clone(), normalize)?;
        let provider = state
            .schema_for_ref(table.clone())?
            .table(table.table())
            .await?
            .ok_or_else(|| plan_datafusion_err!("table '{table}' not found"))?;
        let schema = provider.schema();
        let wanted: Vec<String> = if self.columns.is_empty() {
            let names = schema.fields().iter().map(|field| field.name().clone());
            names.filter(|name| name != ROW_ID).collect()
        } else {
            self.columns.clone()
        };
        let fields = wanted.iter().map(|name| schema.field_with_name(name).ok());
        let (source, named) = self.scan(state, &fields.collect::<Vec<_>>()).await?;
        let values = if named {
            by_name(&source, &wanted, &self.file)?
        } else {
            by_position(&source, &wanted, &self.file)?
        };
        let input = LogicalPlanBuilder::from(source).project(values)?.build()?;
        Ok(LogicalPlan::Dml(DmlStatement::new(
            table,
            provider_as_source(provider),
            WriteOp::Insert(InsertOp::Append),
            Arc::new(input),
        )))
    }

    /// The file as a table, and whether it names its columns, which become `columns` of the target.
    async fn scan(
        &self,
        state: &SessionState,
        columns: &[Option<&Field>],
    ) -> DataFusionResult<(LogicalPlan, bool)> {
        let ending = self.file.rsplit('.').next().unwrap_or_default();
        let name = self.format.as_deref().unwrap_or(ending).to_lowercase();
        let Some(factory) = state.get_file_format_factory(&name) else {
            return plan_err!(
                "COPY FROM '{}': \"{name}\" is no format of a file; say STORED AS csv, parquet, \
                 json or arrow",
                self.file
            );
        };
        let format: Arc<dyn FileFormat> = factory.create(state, &self.options)?;
        let header = self
            .options
            .get("format.has_header")
            .map(|value| value.to_lowercase());
        let header = header.map_or(state.config_options().catalog.has_header, |value| {
            value == "true"
        });
        let named = name != "csv" || header;
        let options = ListingOptions::new(format).with_file_extension("");
        let url = ListingTableUrl::parse(&self.file)?;
        let mut schema = options.infer_schema(state, &url).await?;
        if name == "csv" || name == "json" {
            schema = typed(&schema, columns, named, name == "csv");
        }
        let config = ListingTableConfig::new(url)
            .with_listing_options(options)
            .with_schema(schema);
        let table = ListingTable::try_new(config)?;
        let source = provider_as_source(Arc::new(table));
        let scan = LogicalPlanBuilder::scan(TableReference::bare("file"), source, None)?;
        Ok((scan.build()?, named))
    }
}

/// What a file of text holds, in the types of the columns that it becomes: the first rows, of which
/// DataFusion guesses types, may be whole numbers and later ones not.
fn typed(file: &SchemaRef, columns: &[Option<&Field>], named: bool, is_csv: bool) -> SchemaRef {
    let target = |index: usize, name: &str| {
        if named {
            let mut columns = columns.iter().flatten();
            columns.find(|column| column.name() == name).copied()
        } else {
            columns.get(index).copied().flatten()
        }
    };
    let fields = file.fields().iter().enumerate().map(|(index, field)| {
        let Some(column) = target(index, field.name()) else {
            return Field::clone(field);
        };
        let data_type = match (column.data_type(), field.data_type()) {
            (number, _) if number.is_numeric() => number.clone(),
            // As SQL casts texts: 1 and yes are true as well.
            (DataType::Boolean, _) if is_csv => DataType::Utf8,
            (DataType::FixedSizeList(value, _), DataType::List(guessed))
                if !guessed.data_type().is_nested() =>
            {
                DataType::List(Arc::clone(value))
            }
            (_, guessed) => guessed.clone(),
        };
        Field::new(field.name(), data_type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns of these names; a `row_id` that an export wrote is left out.
fn by_name(source: &LogicalPlan, wanted: &[String], file: &str) -> DataFusionResult<Vec<Expr>> {
    let names: Vec<&String> = source
        .schema()
        .fields()
        .iter()
        .map(|field| field.name())
        .collect();
    let there = || {
        names
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(missing) = wanted.iter().find(|name| !names.contains(name)) {
        return plan_err!(
            "file '{file}' has no column \"{missing}\", it has {}",
            there()
        );
    }
    let strange = names
        .iter()
        .find(|name| !wanted.contains(name) && name.as_str() != ROW_ID);
    if let Some(strange) = strange {
        return plan_err!(
            "file '{file}' has a column \"{strange}\" that the table has not; name the columns to \
             take: COPY table (...) FROM"
        );
    }
    Ok(wanted
        .iter()
        .map(|name| Expr::Column(Column::new(Some("file"), name)))
        .collect())
}

fn by_position(source: &LogicalPlan, wanted: &[String], file: &str) -> DataFusionResult<Vec<Expr>> {
    let columns = source.schema().columns();
    if columns.len() != wanted.len() {
        return plan_err!(
            "file '{file}' has {} columns for {} of the table",
            columns.len(),
            wanted.len()
        );
    }
    let columns = columns.into_iter().zip(wanted);
    Ok(columns
        .map(|(column, name)| Expr::Column(column).alias(name))
        .collect())
}
