//! Reads patients as CSV on stdin and prints statistics that name no patient.
//!
//! The columns are those of `patients.csv`, in that order, with a header line.
//! A line that is wrong is reported on stderr by its number and left out; the
//! exit code is then 1. Without a single good line nothing is printed.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;

const HEADER: &str = "id,age,sex,diagnosis,systolic,diastolic,heart_rate,bmi,glucose,days_in_care";
const COLUMNS: usize = 10;
/// No honest line is longer; bounds the memory that one line can take.
const MAX_LINE: u64 = 4096;
/// Reported one by one; after that only counted, so that a wrong file gives no flood.
const MAX_REPORTS: usize = 20;

struct Patient {
    id: String,
    female: bool,
    diagnosis: String,
    numbers: [f64; 7],
}

/// Name, unit and what a living person can have, in the order of `Patient::numbers`.
const NUMBERS: [(&str, &str, f64, f64); 7] = [
    ("age", "years", 0.0, 130.0),
    ("systolic", "mmHg", 40.0, 300.0),
    ("diastolic", "mmHg", 20.0, 200.0),
    ("heart_rate", "1/min", 20.0, 300.0),
    ("bmi", "kg/m2", 8.0, 120.0),
    ("glucose", "mg/dl", 10.0, 1500.0),
    ("days_in_care", "days", 0.0, 36500.0),
];
const AGE: usize = 0;
const SYSTOLIC: usize = 1;
const DIASTOLIC: usize = 2;
const GLUCOSE: usize = 5;

/// Splits one CSV line (RFC 4180; a quoted field cannot span lines here).
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::with_capacity(COLUMNS);
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_string(), &rest[end..])
            }
        };
        found.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(found),
        }
    }
}

/// Reads a quoted field up to its closing quote; gives it and what follows.
fn quoted_field(text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let quote = rest.find('"').ok_or("a quote is not closed")?;
        field.push_str(&rest[..quote]);
        rest = &rest[quote + 1..];
        match rest.chars().next() {
            Some('"') => {
                field.push('"');
                rest = &rest[1..];
            }
            Some(',') | None => return Ok((field, rest)),
            Some(other) => return Err(format!("found {other:?} after a closing quote")),
        }
    }
}

fn number(text: &str, kind: usize) -> Result<f64, String> {
    let (name, unit, low, high) = NUMBERS[kind];
    text.trim()
        .parse::<f64>()
        .ok()
        .filter(|value| (low..=high).contains(value))
        .ok_or_else(|| format!("{name}: expected {low} to {high} {unit}, found {text:?}"))
}

fn patient(line: &str) -> Result<Patient, String> {
    let columns = fields(line)?;
    if columns.len() != COLUMNS {
        return Err(format!(
            "expected {COLUMNS} columns, found {}",
            columns.len()
        ));
    }
    let female = match columns[2].trim() {
        "F" => true,
        "M" => false,
        other => return Err(format!("sex: expected F or M, found {other:?}")),
    };
    if columns[0].trim().is_empty() || columns[3].trim().is_empty() {
        return Err("id and diagnosis must not be empty".to_string());
    }
    let mut numbers = [number(&columns[1], AGE)?, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    for kind in SYSTOLIC..NUMBERS.len() {
        numbers[kind] = number(&columns[kind + 3], kind)?;
    }
    if numbers[DIASTOLIC] >= numbers[SYSTOLIC] {
        return Err("diastolic: expected less than systolic".to_string());
    }
    Ok(Patient {
        id: columns[0].trim().to_string(),
        female,
        diagnosis: columns[3].trim().to_string(),
        numbers,
    })
}

/// Reads one line of at most `MAX_LINE` bytes, without its end; `None` at the end of input.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Result<String, String>>> {
    let mut bytes = Vec::new();
    if input
        .by_ref()
        .take(MAX_LINE)
        .read_until(b'\n', &mut bytes)?
        == 0
    {
        return Ok(None);
    }
    if bytes.len() as u64 == MAX_LINE && !bytes.ends_with(b"\n") {
        skip_line(input)?;
        return Ok(Some(Err(format!("longer than {MAX_LINE} bytes"))));
    }
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(Some(String::from_utf8(bytes).map_err(|error| {
        format!("not UTF-8: {}", error.utf8_error())
    })))
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let waiting = input.fill_buf()?;
        let newline = waiting.iter().position(|&byte| byte == b'\n');
        let used = newline.map_or(waiting.len(), |position| position + 1);
        input.consume(used);
        if newline.is_some() || used == 0 {
            return Ok(());
        }
    }
}

fn check_header(line: &str) -> Result<(), String> {
    // Spreadsheets like to begin a file with a byte order mark.
    if line.trim_start_matches('\u{feff}').trim() == HEADER {
        return Ok(());
    }
    Err(format!("expected the header {HEADER}"))
}

/// Reads everything; gives the good patients and the number of bad lines.
fn read(input: &mut impl BufRead) -> io::Result<(Vec<Patient>, usize)> {
    let mut patients = Vec::new();
    let mut known = HashSet::new();
    let mut bad = 0;
    let mut line_number = 0;
    while let Some(line) = next_line(input)? {
        line_number += 1;
        let outcome = line.and_then(|text| match line_number {
            1 => check_header(&text).map(|()| None),
            _ if text.trim().is_empty() => Ok(None),
            _ => patient(&text).map(Some),
        });
        let problem = match outcome {
            Ok(None) => continue,
            Ok(Some(patient)) if known.insert(patient.id.clone()) => {
                patients.push(patient);
                continue;
            }
            Ok(Some(patient)) => format!("id: {} was there before", patient.id),
            Err(problem) => problem,
        };
        bad += 1;
        if bad <= MAX_REPORTS {
            eprintln!("line {line_number}: {problem}");
        }
    }
    if bad > MAX_REPORTS {
        eprintln!("and {} more bad lines", bad - MAX_REPORTS);
    }
    Ok((patients, bad))
}

/// The `share` quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, high) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    low + (high - low) * place.fract()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values);
    let squares: f64 = values.iter().map(|value| (value - middle).powi(2)).sum();
    (squares / (values.len().max(2) - 1) as f64).sqrt()
}

fn column(patients: &[&Patient], kind: usize) -> Vec<f64> {
    let mut values: Vec<f64> = patients
        .iter()
        .map(|patient| patient.numbers[kind])
        .collect();
    values.sort_by(f64::total_cmp);
    values
}

fn print_numbers(out: &mut impl Write, patients: &[&Patient]) -> io::Result<()> {
    writeln!(
        out,
        "{:<14}{:>7}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}",
        "", "unit", "mean", "sd", "min", "p25", "median", "p75", "p95"
    )?;
    for (kind, (name, unit, _, _)) in NUMBERS.iter().enumerate() {
        let sorted = column(patients, kind);
        write!(
            out,
            "{name:<14}{unit:>7}{:>8.1}{:>8.1}",
            mean(&sorted),
            deviation(&sorted)
        )?;
        for share in [0.0, 0.25, 0.5, 0.75, 0.95] {
            write!(out, "{:>8.1}", quantile(&sorted, share))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn print_diagnoses(out: &mut impl Write, patients: &[&Patient]) -> io::Result<()> {
    let mut groups: BTreeMap<&str, Vec<&Patient>> = BTreeMap::new();
    for patient in patients {
        groups.entry(&patient.diagnosis).or_default().push(patient);
    }
    writeln!(
        out,
        "{:<22}{:>9}{:>8}{:>10}{:>14}{:>13}",
        "diagnosis", "patients", "women", "mean age", "mean pressure", "mean glucose"
    )?;
    for (diagnosis, group) in groups {
        let women = group.iter().filter(|patient| patient.female).count();
        let average = |kind| mean(&column(&group, kind));
        writeln!(
            out,
            "{diagnosis:<22}{:>9}{:>7.0}%{:>10.1}{:>14}{:>13.1}",
            group.len(),
            100.0 * women as f64 / group.len() as f64,
            average(AGE),
            format!("{:.0}/{:.0}", average(SYSTOLIC), average(DIASTOLIC)),
            average(GLUCOSE)
        )?;
    }
    Ok(())
}

fn print_ages(out: &mut impl Write, patients: &[&Patient]) -> io::Result<()> {
    let mut decades: BTreeMap<u32, usize> = BTreeMap::new();
    for patient in patients {
        *decades
            .entry(patient.numbers[AGE] as u32 / 10 * 10)
            .or_default() += 1;
    }
    let most = decades.values().copied().max().unwrap_or(1);
    writeln!(out, "age")?;
    for (decade, count) in decades {
        let bar = "#".repeat((40 * count + most - 1) / most);
        writeln!(out, "{decade:>3}-{:<3} {count:>5} {bar}", decade + 9)?;
    }
    Ok(())
}

fn print(patients: &[&Patient]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let women = patients.iter().filter(|patient| patient.female).count();
    writeln!(
        out,
        "{} patients, {women} women, {} men\n",
        patients.len(),
        patients.len() - women
    )?;
    print_numbers(&mut out, patients)?;
    writeln!(out)?;
    print_diagnoses(&mut out, patients)?;
    writeln!(out)?;
    print_ages(&mut out, patients)?;
    out.flush()
}

fn run() -> io::Result<ExitCode> {
    let (patients, bad) = read(&mut io::stdin().lock())?;
    if patients.is_empty() {
        eprintln!("no patients on stdin");
        return Ok(ExitCode::FAILURE);
    }
    print(&patients.iter().collect::<Vec<_>>())?;
    Ok(if bad == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("patients: {error}");
        ExitCode::FAILURE
    })
}
