//! The row file of a shard: Parquet with the same rows as its `key.json`.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::{Field, Row as Record};
use parquet::schema::parser::parse_message_type;
use serde_json::Value;

use super::columns::{COLUMNS, Column, Kind};
use super::row::Row;
use crate::Error;

/// Rows of a group: as values they take several times their size. Shards of so many rows have always had one group, and the
/// same rows are to give the same bytes.
const GROUP: usize = 10_000;

/// The rows of a shard as Parquet, with the columns that [`Row`] has.
///
/// # Errors
/// [`Error::Unreadable`] if they cannot be written so.
pub fn write_row_file(rows: &[Row]) -> std::result::Result<Vec<u8>, Error> {
    write(rows).map_err(|error| Error::Unreadable {
        object: "the rows of a shard".into(),
        reason: error.to_string(),
    })
}

fn write(rows: &[Row]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut writer = RowWriter::new(&mut file, COLUMNS.iter().collect())?;
    if rows.is_empty() {
        writer.group(&[])?;
    }
    for rows in rows.chunks(GROUP) {
        let values = rows.iter().map(serde_json::to_value).collect::<std::result::Result<Vec<_>, _>>();
        writer.group(&values.map_err(|error| ParquetError::General(error.to_string()))?)?;
    }
    writer.close()?;
    Ok(file)
}

/// Writes rows as Parquet, group by group.
pub(super) struct RowWriter<W: Write + Send> {
    columns: Vec<&'static Column>,
    writer: SerializedFileWriter<W>,
}

impl<W: Write + Send> RowWriter<W> {
    pub(super) fn new(file: W, columns: Vec<&'static Column>) -> Result<Self> {
        let properties = WriterProperties::builder()
            // Not the library's version: the same rows are to give the same bytes for long.
            .set_created_by("uso-fleet".into())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .build();
        let schema = Arc::new(parse_message_type(&schema(&columns))?);
        Ok(Self { columns, writer: SerializedFileWriter::new(file, schema, Arc::new(properties))? })
    }

    /// Writes some rows.
    pub(super) fn group(&mut self, rows: &[Value]) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for column in &self.columns {
            write_column(&mut group, rows, column)?;
        }
        group.close().map(drop)
    }

    /// Ends the file.
    pub(super) fn close(self) -> Result<()> {
        self.writer.close().map(drop)
    }
}

/// The columns in Parquet's own words.
fn schema(columns: &[&Column]) -> String {
    let mut text = "message row {".to_owned();
    columns.iter().for_each(|column| declare(&mut text, column));
    text + "}"
}

fn declare(text: &mut String, Column { name, kind, nullable }: &Column) {
    let how = if *nullable { "optional" } else { "required" };
    let list = format!("{how} group {name} (LIST) {{ repeated group list {{");
    // Writing to a string cannot fail.
    let _ = match kind {
        Kind::Text => write!(text, "{how} binary {name} (STRING);"),
        Kind::Integer => write!(text, "{how} int64 {name};"),
        Kind::Float => write!(text, "{how} double {name};"),
        Kind::Boolean => write!(text, "{how} boolean {name};"),
        Kind::Texts => write!(text, "{list} required binary element (STRING); }} }}"),
        Kind::List(fields) => {
            let _ = write!(text, "{list} required group element {{");
            fields.iter().for_each(|field| declare(text, field));
            write!(text, "}} }} }}")
        }
        Kind::Group(fields) => {
            let _ = write!(text, "{how} group {name} {{");
            fields.iter().for_each(|field| declare(text, field));
            write!(text, "}}")
        }
    };
}

/// Values of a leaf column with Parquet's definition and repetition levels. See
/// <https://parquet.apache.org/docs/file-format/nestedencoding/>.
#[derive(Default)]
struct Leaf<'a> {
    values: Vec<&'a Value>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl<'a> Leaf<'a> {
    /// One value a row, or null where it may be.
    fn flat(rows: impl Iterator<Item = &'a Value>, nullable: bool) -> Self {
        let mut leaf = Self::default();
        for value in rows {
            if nullable {
                leaf.definition.push(i16::from(!value.is_null()));
            }
            if !nullable || !value.is_null() {
                leaf.values.push(value);
            }
        }
        leaf
    }

    /// The values of a list that is never null; `field` is the one of its structures, none for a list of texts.
    fn list(rows: impl Iterator<Item = &'a Value>, field: Option<&Column>) -> Self {
        let mut leaf = Self::default();
        let nullable = field.is_some_and(|field| field.nullable);
        for list in rows {
            let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
            if items.is_empty() {
                leaf.definition.push(0);
                leaf.repetition.push(0);
            }
            for (i, item) in items.iter().enumerate() {
                let value = field.map_or(item, |field| &item[field.name]);
                leaf.repetition.push(i16::from(i > 0));
                leaf.definition.push(1 + i16::from(nullable && !value.is_null()));
                if !nullable || !value.is_null() {
                    leaf.values.push(value);
                }
            }
        }
        leaf
    }

    fn write<W: Write + Send>(self, group: &mut SerializedRowGroupWriter<'_, W>, kind: Kind) -> Result<()> {
        let wrong =
            |value: &Value| ParquetError::General(format!("{value} has another type than its column"));
        match kind {
            Kind::Integer => {
                self.typed::<Int64Type, W>(group, |value| value.as_i64().ok_or_else(|| wrong(value)))
            }
            Kind::Float => {
                self.typed::<DoubleType, W>(group, |value| value.as_f64().ok_or_else(|| wrong(value)))
            }
            Kind::Boolean => {
                self.typed::<BoolType, W>(group, |value| value.as_bool().ok_or_else(|| wrong(value)))
            }
            Kind::Text => self.typed::<ByteArrayType, W>(group, |value| {
                value.as_str().map(ByteArray::from).ok_or_else(|| wrong(value))
            }),
            Kind::Texts | Kind::List(_) | Kind::Group(_) => {
                Err(ParquetError::General("a list or a structure is no leaf".into()))
            }
        }
    }

    fn typed<D: DataType, W: Write + Send>(
        self,
        group: &mut SerializedRowGroupWriter<'_, W>,
        read: impl Fn(&Value) -> Result<D::T>,
    ) -> Result<()> {
        let values = self.values.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        let missing = || ParquetError::General("the schema has fewer columns".into());
        let mut column = group.next_column()?.ok_or_else(missing)?;
        // Of no rows there are no levels.
        if values.is_empty() && self.definition.is_empty() {
            return column.close();
        }
        let levels = |levels: Vec<i16>| Some(levels).filter(|levels| !levels.is_empty());
        let (definition, repetition) = (levels(self.definition), levels(self.repetition));
        column.typed::<D>().write_batch(values.as_slice(), definition.as_deref(), repetition.as_deref())?;
        column.close()
    }
}

fn write_column<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[Value],
    column: &Column,
) -> Result<()> {
    let values = || rows.iter().map(|row| &row[column.name]);
    match column.kind {
        Kind::Texts => Leaf::list(values(), None).write(group, Kind::Text),
        Kind::List(fields) => {
            fields.iter().try_for_each(|field| Leaf::list(values(), Some(field)).write(group, field.kind))
        }
        Kind::Group(fields) => fields.iter().try_for_each(|field| {
            let values = values().map(|value| &value[field.name]);
            Leaf::flat(values, field.nullable).write(group, field.kind)
        }),
        kind => Leaf::flat(values(), column.nullable).write(group, kind),
    }
}

/// The rows of a row file.
///
/// # Errors
/// Why it is none.
pub fn read_row_file(file: Bytes) -> std::result::Result<Vec<Row>, String> {
    let reader = SerializedFileReader::new(file).map_err(|error| error.to_string())?;
    let records = reader.get_row_iter(None).map_err(|error| error.to_string())?;
    let row = |record: Result<Record>| {
        let record = record.map_err(|error| error.to_string())?;
        serde_json::from_value(object(&record)?).map_err(|error| error.to_string())
    };
    records.map(row).collect()
}

fn object(record: &Record) -> std::result::Result<Value, String> {
    let fields = record.get_column_iter().map(|(name, field)| Ok((name.clone(), value(field)?)));
    fields.collect::<std::result::Result<_, String>>().map(Value::Object)
}

fn value(field: &Field) -> std::result::Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(value) => value.as_str().into(),
        Field::Group(record) => object(record)?,
        Field::ListInternal(list) => {
            list.elements().iter().map(value).collect::<std::result::Result<Vec<_>, _>>()?.into()
        }
        other => return Err(format!("{other} has a type that no column has")),
    })
}
