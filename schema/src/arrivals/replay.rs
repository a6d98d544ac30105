//! The times of a recorded trace, read from comma-separated values.

use std::borrow::Cow;
use std::path::Path;

use super::{ReplayFile, ReplayUnit};
use crate::error::{FileError, Place, suggest};
use crate::units::SimDuration;

/// Reads the trace in the file `path`, which `replay` names, as gaps: of the request in each row
/// from the one in the row before.
///
/// The first request comes one mean gap after the start, whatever its own time is (times may count
/// from the start of a trace or from 1970), so that of `n` rows the gaps add up to `n` mean gaps:
/// a trace that is repeated keeps its rate. Times are read exactly and each is rounded once, after
/// it was stretched, so that rounding does not add up.
///
/// The file: a row a line, fields separated by commas, in double quotes where they hold commas
/// (RFC 4180, but a field does not go on in the next line). Empty lines and those that start with
/// `#` are skipped. The first line left is a header if the column has a name, or if its first field
/// starts with a letter, `_` or a quote. Times are decimal numbers from zero, ascending; equal ones
/// are requests at once. There must be at least two rows, and the last later than the first.
///
/// # Errors
/// If the file cannot be read or is not like that: the line, the column, what was found and what is
/// allowed. [`FileError::Invalid`] has the name of the column as its key, `column 1` where it has
/// none.
pub fn read_replay(path: &Path, replay: &ReplayFile) -> Result<Vec<SimDuration>, FileError> {
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(path, &text, replay)
}

/// As [`read_replay`], of the text of the file.
pub(super) fn parse(
    path: &Path,
    text: &str,
    replay: &ReplayFile,
) -> Result<Vec<SimDuration>, FileError> {
    let wrong = |key: &str, place: Place, problem: String| FileError::Invalid {
        path: path.to_owned(),
        place,
        key: key.to_owned(),
        problem,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .peekable();
    let first = rows.peek().copied();
    let (column, key) = match first {
        Some((number, line)) => column(line, replay)
            .map_err(|(key, problem)| wrong(&key, Place::Line(number), problem))?,
        None => (0, replay.column.clone()),
    };
    if key.is_some() {
        rows.next();
    }
    let key = key.unwrap_or_else(|| "column 1".to_owned());
    let mut times: Vec<u128> = Vec::new();
    let mut last = (0, Cow::Borrowed(""));
    for (number, line) in rows {
        let at = |problem| wrong(&key, Place::Line(number), problem);
        let mut fields = fields(line).map_err(at)?;
        let n = fields.len();
        if column >= n {
            let problem = format!("must be in every row, found {n} of {} fields", column + 1);
            return Err(at(problem));
        }
        let field = fields.swap_remove(column);
        let time = picoseconds(&field, replay.unit).map_err(at)?;
        if times.last().is_some_and(|before| time < *before) {
            let (line, before) = last;
            let problem =
                format!("must not be less than `{before}` in line {line}, found `{field}`");
            return Err(at(problem));
        }
        times.push(time);
        last = (number, field);
    }
    stretched(&times, replay).map_err(|problem| wrong(&key, Place::File, problem))
}

/// Index of the column of the times, and its name if the first line `line` is a header.
fn column(line: &str, replay: &ReplayFile) -> Result<(usize, Option<String>), (String, String)> {
    let unnamed = || "column 1".to_owned();
    let names =
        fields(line).map_err(|problem| (replay.column.clone().unwrap_or_else(unnamed), problem))?;
    if let Some(wanted) = &replay.column {
        let index = names
            .iter()
            .position(|name| name == wanted)
            .ok_or_else(|| {
                let allowed = suggest(wanted, names.iter().map(AsRef::as_ref));
                let problem = format!("the header, the first line, has no such column{allowed}");
                (wanted.clone(), problem)
            })?;
        return Ok((index, Some(wanted.clone())));
    }
    let name = names.first().map_or("", AsRef::as_ref);
    let is_name =
        line.starts_with('"') || name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    // `nan` and `inf` are bad times rather than names.
    let is_header = is_name && name.parse::<f64>().is_err();
    Ok((0, is_header.then(|| name.to_owned())))
}

/// The fields of a line, trimmed, without their quotes.
fn fields(line: &str) -> Result<Vec<Cow<'_, str>>, String> {
    if !line.contains('"') {
        return Ok(line.split(',').map(|field| field.trim().into()).collect());
    }
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.trim_start().strip_prefix('"') else {
            let (field, after) = rest.split_once(',').unwrap_or((rest, ""));
            fields.push(field.trim().into());
            if field.len() == rest.len() {
                return Ok(fields);
            }
            rest = after;
            continue;
        };
        let (field, after) = quoted_field(quoted)
            .ok_or_else(|| format!("must end every quoted field in its line, found `{line}`"))?;
        fields.push(field.into());
        let after = after.trim_start();
        if after.is_empty() {
            return Ok(fields);
        }
        rest = after
            .strip_prefix(',')
            .ok_or_else(|| format!("must have a comma after every quoted field, found `{line}`"))?;
    }
}

/// The field up to the closing quote, two quotes standing for one, and what follows that.
fn quoted_field(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        let Some(more) = after.strip_prefix('"') else {
            return Some((field, after));
        };
        field.push('"');
        rest = more;
    }
}

/// A decimal number of `unit` in picoseconds, exact, and what is finer rounded half up.
fn picoseconds(text: &str, unit: ReplayUnit) -> Result<u128, String> {
    let (name, power) = match unit {
        ReplayUnit::S => ("seconds", 12),
        ReplayUnit::Ms => ("milliseconds", 9),
        ReplayUnit::Us => ("microseconds", 6),
        ReplayUnit::Ns => ("nanoseconds", 3),
    };
    let refused = || format!("must be a decimal number of {name} from 0, found `{text}`");
    let too_large = || format!("must fit 128 bits of picoseconds, found `{text}`");
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().map_err(|_| refused())?),
        None => (text, 0),
    };
    let (is_negative, number) = match number.strip_prefix('-') {
        Some(number) => (true, number),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return Err(refused());
    }
    // Digits that far behind the point change no picosecond, but could overflow.
    let n_places = usize::try_from(exponent.max(0)).map_or(24, |more| more.saturating_add(24));
    let fraction = fraction.get(..n_places).unwrap_or(fraction);
    let digits: String = [whole, fraction].concat();
    let digits: u128 = digits.parse().map_err(|_| too_large())?;
    if is_negative && digits > 0 {
        return Err(refused());
    }
    let n_decimals = i32::try_from(fraction.len()).map_err(|_| too_large())?;
    let power = exponent.saturating_add(power).saturating_sub(n_decimals);
    let factor = 10u128.checked_pow(power.unsigned_abs());
    match factor {
        _ if digits == 0 => Ok(0),
        Some(factor) if power >= 0 => digits.checked_mul(factor).ok_or_else(too_large),
        Some(factor) => Ok(digits / factor + u128::from(digits % factor >= factor.div_ceil(2))),
        None if power >= 0 => Err(too_large()),
        None => Ok(0),
    }
}

/// The gaps between `times`, in picoseconds, stretched to the rate that `replay` asks for.
fn stretched(times: &[u128], replay: &ReplayFile) -> Result<Vec<SimDuration>, String> {
    let n = times.len();
    let [first, .., last] = times else {
        return Err(format!("must have at least 2 rows, found {n}"));
    };
    let span = last - first;
    if span == 0 {
        let problem = "the last time must be later than the first, found the same in every row";
        return Err(problem.to_owned());
    }
    let n_between = n as u128 - 1;
    // Picoseconds of the run to one of the trace.
    let stretch = match (replay.rate, replay.rate_factor) {
        (Some(rate), _) => Some(n_between as f64 / rate.per_second() * 1e12 / span as f64),
        (None, Some(factor)) => Some(1.0 / factor),
        (None, None) => None,
    };
    let scaled = |offset: u128| match stretch {
        None => u64::try_from(offset).ok(),
        Some(stretch) => {
            let ps = (offset as f64 * stretch + 0.5).floor();
            (ps < 1.8e19).then_some(ps as u64)
        }
    };
    let too_long = || {
        let s = span as f64 / 1e12 * stretch.unwrap_or(1.0);
        format!("the trace must fit 213 days of the run, found {s:.3e} s")
    };
    let total = scaled(span).ok_or_else(too_long)?;
    if total == 0 {
        return Err("the trace must last at least 1 ps of the run, found less".to_owned());
    }
    let mean = (u128::from(total) + n_between / 2) / n_between;
    let mean = u64::try_from(mean).map_err(|_| too_long())?;
    let mut gaps = Vec::with_capacity(n);
    gaps.push(SimDuration::from_ps(mean));
    let mut before = 0;
    for time in &times[1..] {
        let at = scaled(time - first).ok_or_else(too_long)?;
        gaps.push(SimDuration::from_ps(at - before));
        before = at;
    }
    Ok(gaps)
}
