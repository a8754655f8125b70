//! Columns of a Parquet file.

use std::collections::HashSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};

use jiff::Timestamp;
use parquet::basic::{Compression, ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::ColumnDescriptor;
use serde_json::{Map, Number, Value};
use uso_queue::FieldError;

use crate::rows::row::{BadRow, RawRow, fault};

/// Values of a column that are decoded at a time.
const BATCH: usize = 256;

/// What a column may hold, in words.
const READ: &str = "texts, whole numbers, floating-point numbers, booleans, times in milliseconds or microseconds, and \
                    structures and lists of these are read";

/// Rows of a Parquet file; an error ends them.
pub(super) fn rows(file: File) -> Result<Rows, String> {
    let reader = guarded(|| SerializedFileReader::new(file).map_err(|error| error.to_string()))?;
    check(reader.metadata())?;
    Ok(Rows { reader, group: 0, rows: None, line: 0 })
}

/// Whether the file can be read, as far as its footer tells.
fn check(footer: &ParquetMetaData) -> Result<(), String> {
    let schema = footer.file_metadata().schema_descr();
    let mut names = HashSet::new();
    for column in schema.root_schema().get_fields() {
        if !names.insert(column.name()) {
            return Err(format!("two columns are called {}", column.name()));
        }
    }
    for column in schema.columns() {
        if let Some(kind) = unread(column) {
            return Err(format!(
                "column {} holds {kind}, which are not read; {READ}",
                column.path().string()
            ));
        }
    }
    for chunk in footer.row_groups().iter().flat_map(|group| group.columns()) {
        if let Some(compression) = undecoded(chunk.compression()) {
            return Err(format!(
                "column {} is compressed with {compression}; rewrite the file with snappy, lz4, zstd or none",
                chunk.column_path().string()
            ));
        }
    }
    Ok(())
}

/// The name of a compression that is not read: one that the reader does not know, or gzip, which it unpacks to any size,
/// whatever the page says.
fn undecoded(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::GZIP(_) => Some("gzip"),
        Compression::BROTLI(_) => Some("brotli"),
        Compression::LZO => Some("lzo"),
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::LZ4
        | Compression::ZSTD(_)
        | Compression::LZ4_RAW => None,
    }
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

/// What a column holds, if the row reader does not know its type; on most of them it panics.
fn unread(column: &ColumnDescriptor) -> Option<&'static str> {
    use {ConvertedType as C, Physical as P};
    // These two would be read as bare numbers.
    match column.logical_type_ref() {
        Some(LogicalType::Timestamp(time)) if matches!(time.unit, TimeUnit::NANOS) => {
            return Some("times in nanoseconds");
        }
        Some(LogicalType::Time(_)) => return Some("times of the day"),
        _ => {}
    }
    match (column.physical_type(), column.converted_type()) {
        (P::BOOLEAN | P::FLOAT | P::DOUBLE, _)
        | (P::INT32, C::NONE | C::INT_8 | C::INT_16 | C::INT_32 | C::UINT_8 | C::UINT_16 | C::UINT_32)
        | (P::INT64, C::NONE | C::INT_64 | C::UINT_64 | C::TIMESTAMP_MILLIS | C::TIMESTAMP_MICROS)
        | (P::BYTE_ARRAY, C::NONE | C::UTF8 | C::ENUM | C::JSON) => None,
        (_, C::DECIMAL) => Some("decimal numbers"),
        (_, C::DATE) => Some("dates"),
        (_, C::TIME_MILLIS | C::TIME_MICROS) => Some("times of the day"),
        (_, C::INTERVAL) => Some("spans of time"),
        (P::INT96, _) => Some("times of 96 bits"),
        (P::FIXED_LEN_BYTE_ARRAY, _) => Some("bytes of a fixed length"),
        _ => Some("values of a rare type"),
    }
}

fn to_row(line: u64, row: Row) -> Result<RawRow, BadRow> {
    let (mut fields, mut faults) = (Map::new(), Vec::new());
    for (name, field) in row.into_columns() {
        match value(field) {
            Ok(value) => {
                fields.insert(name, value);
            }
            Err(message) => faults.push(fault(&FieldError::unknown(&name).pointer, "wrong_type", message)),
        }
    }
    if faults.is_empty() {
        Ok(RawRow { line, fields, labels: Map::new() })
    } else {
        Err(BadRow::with(line, faults))
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
        _ => return Err(format!("is of a type that is not read; {READ}")),
    })
}

fn finite(number: f64) -> Result<Value, String> {
    Number::from_f64(number).map(Value::Number).ok_or_else(|| format!("{number} is not a number"))
}

fn timestamp(time: Result<Timestamp, jiff::Error>) -> Result<Value, String> {
    time.map(|time| time.to_string().into()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, RowGroupMetaData};
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    /// What is said of a file with these columns.
    fn said(columns: &str, compression: Compression) -> Result<(), String> {
        let message = parse_message_type(&format!("message rows {{ {columns} }}")).unwrap();
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(message)));
        let chunks = schema.columns().iter().map(|column| {
            let chunk = ColumnChunkMetaData::builder(column.clone()).set_compression(compression);
            chunk.build().unwrap()
        });
        let group = RowGroupMetaData::builder(schema.clone()).set_column_metadata(chunks.collect());
        let file = FileMetaData::new(1, 0, None, None, schema, None);
        check(&ParquetMetaData::new(file, vec![group.build().unwrap()]))
    }

    #[test]
    fn a_compression_that_is_not_known_is_named_with_its_column() {
        let text = "REQUIRED BINARY prompt (UTF8);";
        for (compression, name) in [
            (Compression::GZIP(Default::default()), "gzip"),
            (Compression::BROTLI(Default::default()), "brotli"),
            (Compression::LZO, "lzo"),
        ] {
            let rewrite = "rewrite the file with snappy, lz4, zstd or none";
            let expected = format!("column prompt is compressed with {name}; {rewrite}");
            assert_eq!(said(text, compression), Err(expected));
        }
        assert_eq!(said(text, Compression::UNCOMPRESSED), Ok(()));
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let twice = "REQUIRED BINARY prompt (UTF8); OPTIONAL INT32 seed; OPTIONAL BINARY prompt (UTF8);";
        assert_eq!(said(twice, Compression::SNAPPY), Err("two columns are called prompt".to_owned()));
    }

    #[test]
    fn a_type_that_is_not_read_is_said_in_words() {
        for (column, kind) in [
            ("INT64 at (TIMESTAMP(NANOS, true))", "times in nanoseconds"),
            ("INT96 at", "times of 96 bits"),
            ("INT32 at (DATE)", "dates"),
            ("INT32 at (TIME(MILLIS, true))", "times of the day"),
            ("INT64 at (DECIMAL(9, 2))", "decimal numbers"),
            ("FIXED_LEN_BYTE_ARRAY (16) at", "bytes of a fixed length"),
        ] {
            let refused = said(&format!("REQUIRED {column};"), Compression::SNAPPY).unwrap_err();
            assert_eq!(refused, format!("column at holds {kind}, which are not read; {READ}"));
        }
        for column in ["INT64 at (TIMESTAMP(MICROS, false))", "INT64 at (TIMESTAMP_MILLIS)", "DOUBLE at"] {
            assert_eq!(said(&format!("OPTIONAL {column};"), Compression::SNAPPY), Ok(()), "{column}");
        }
    }
}
