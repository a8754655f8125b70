//! Columns of a Parquet file.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::Timestamp;
use parquet::basic::{ConvertedType, Type as Physical};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Map, Number, Value};

use crate::rows::row::{BadRow, RawRow, fault};

/// Values of a column that are decoded at a time.
const BATCH: usize = 256;

/// Rows of a Parquet file; an error ends them.
pub(super) fn rows(file: File) -> Result<Rows, String> {
    let reader = guarded(|| SerializedFileReader::new(file).map_err(|error| error.to_string()))?;
    for column in reader.metadata().file_metadata().schema_descr().columns() {
        if !is_readable(column) {
            let (name, kind) = (column.path().string(), column.physical_type());
            return Err(format!(
                "column {name} is of a type that is not read: {kind:?}, {:?}",
                column.converted_type()
            ));
        }
    }
    Ok(Rows { reader, group: 0, rows: None, line: 0 })
}

/// Rows of a Parquet file.
pub(super) struct Rows {
    reader: SerializedFileReader<File>,
    /// The next row group.
    group: usize,
    rows: Option<ReaderIter>,
    line: u64,
}

impl Iterator for Rows {
    type Item = Result<Result<RawRow, BadRow>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = guarded(|| self.next_row()).transpose()?;
        self.line += 1;
        Some(row.map(|row| to_row(self.line, row)))
    }
}

impl Rows {
    fn next_row(&mut self) -> Result<Option<Row>, String> {
        let text = |error: parquet::errors::ParquetError| error.to_string();
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                return row.map(Some).map_err(text);
            }
            if self.group == self.reader.num_row_groups() {
                return Ok(None);
            }
            let group = self.reader.get_row_group(self.group).map_err(text)?;
            let columns = self.reader.metadata().file_metadata().schema_descr_ptr();
            self.rows =
                Some(TreeBuilder::new().with_batch_size(BATCH).as_iter(columns, &*group).map_err(text)?);
            self.group += 1;
        }
    }
}

/// The reader panics on some damaged files; that must end the manifest, not the process.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("it is damaged".to_owned()))
}

/// Whether the row reader knows the column's type; it panics on others.
fn is_readable(column: &ColumnDescriptor) -> bool {
    use ConvertedType as C;
    match column.physical_type() {
        Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE => true,
        Physical::INT32 => matches!(
            column.converted_type(),
            C::NONE | C::INT_8 | C::INT_16 | C::INT_32 | C::UINT_8 | C::UINT_16 | C::UINT_32
        ),
        Physical::INT64 => matches!(
            column.converted_type(),
            C::NONE | C::INT_64 | C::UINT_64 | C::TIMESTAMP_MILLIS | C::TIMESTAMP_MICROS
        ),
        Physical::BYTE_ARRAY => matches!(column.converted_type(), C::NONE | C::UTF8 | C::ENUM | C::JSON),
        Physical::INT96 | Physical::FIXED_LEN_BYTE_ARRAY => false,
    }
}

fn to_row(line: u64, row: Row) -> Result<RawRow, BadRow> {
    let (mut fields, mut faults) = (Map::new(), Vec::new());
    for (name, field) in row.into_columns() {
        match value(field) {
            Ok(value) => {
                fields.insert(name, value);
            }
            Err(message) => faults.push(fault(&format!("/{name}"), "wrong_type", message)),
        }
    }
    if faults.is_empty() {
        Ok(RawRow { line, fields, labels: Map::new() })
    } else {
        Err(BadRow { line, faults })
    }
}

fn value(field: Field) -> Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => flag.into(),
        Field::Byte(number) => number.into(),
        Field::Short(number) => number.into(),
        Field::Int(number) => number.into(),
        Field::Long(number) => number.into(),
        Field::UByte(number) => number.into(),
        Field::UShort(number) => number.into(),
        Field::UInt(number) => number.into(),
        Field::ULong(number) => number.into(),
        // By its shortest digits: what was written as 3.3 is 3.3, not 3.299999952316284.
        Field::Float(number) => finite(number.to_string().parse().unwrap_or(f64::NAN))?,
        Field::Double(number) => finite(number)?,
        Field::Str(text) => text.into(),
        Field::Bytes(bytes) => match bytes.as_utf8() {
            Ok(text) => text.into(),
            Err(_) => return Err("is not UTF-8 text".to_owned()),
        },
        Field::TimestampMillis(time) => timestamp(Timestamp::from_millisecond(time))?,
        Field::TimestampMicros(time) => timestamp(Timestamp::from_microsecond(time))?,
        Field::Group(row) => row
            .into_columns()
            .into_iter()
            .map(|(name, field)| Ok((name, value(field)?)))
            .collect::<Result<_, String>>()?,
        Field::ListInternal(list) => {
            list.elements().iter().cloned().map(value).collect::<Result<Vec<_>, _>>()?.into()
        }
        _ => return Err("is of a type that is not read".to_owned()),
    })
}

fn finite(number: f64) -> Result<Value, String> {
    Number::from_f64(number).map(Value::Number).ok_or_else(|| format!("{number} is not a number"))
}

fn timestamp(time: Result<Timestamp, jiff::Error>) -> Result<Value, String> {
    time.map(|time| time.to_string().into()).map_err(|error| error.to_string())
}
