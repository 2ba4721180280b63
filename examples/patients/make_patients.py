"""Makes `patients.csv`: synthetic patients, the same ones every time.

Nobody in it exists. The numbers are drawn so that they look like a general
practice's: blood pressure rises with age, glucose is high in diabetics.

    python examples/patients/make_patients.py > examples/patients/patients.csv
"""

from __future__ import annotations

import random
import sys

COUNT = 200
SEED = 1820  # Florence Nightingale's year of birth: she made statistics of patients.

# Diagnosis, share of patients, mean age, added to systolic pressure, mean glucose in mg/dl.
DIAGNOSES = (
    ("asthma", 14, 34, 0, 92),
    ("atrial fibrillation", 9, 71, 8, 101),
    ("depression", 13, 43, 0, 94),
    ("diabetes, type 2", 17, 62, 9, 158),
    ("hypertension", 24, 61, 22, 99),
    ("migraine", 11, 37, -2, 90),
    ("pneumonia", 6, 58, -6, 108),
    ("rheumatoid arthritis", 6, 55, 2, 95),
)
HEADER = "id,age,sex,diagnosis,systolic,diastolic,heart_rate,bmi,glucose,days_in_care"


def within(low: int, value: float, high: int) -> int:
    """Rounds ``value`` and holds it between ``low`` and ``high``."""
    return min(high, max(low, round(value)))


def patient(number: int, dice: random.Random) -> str:
    """One line of the file, without its newline."""
    name, _, mean_age, added, mean_glucose = dice.choices(
        DIAGNOSES, weights=[share for _, share, *_ in DIAGNOSES]
    )[0]
    age = within(18, dice.gauss(mean_age, 14), 97)
    systolic = within(88, dice.gauss(104 + 0.4 * age + added, 11), 210)
    diastolic = within(50, 0.45 * systolic + dice.gauss(20, 6), systolic - 20)
    columns = (
        f"P{number:04}",
        str(age),
        dice.choice("FM"),
        f'"{name}"' if "," in name else name,
        str(systolic),
        str(diastolic),
        str(within(46, dice.gauss(74 + (14 if name == "atrial fibrillation" else 0), 10), 150)),
        f"{min(48.0, max(16.5, dice.gauss(26.4, 4.3))):.1f}",
        str(within(58, dice.gauss(mean_glucose, 14), 320)),
        str(within(0, dice.expovariate(1 / 6.0), 60)),
    )
    return ",".join(columns)


def main() -> None:
    """Writes the whole file to stdout."""
    dice = random.Random(SEED)  # noqa: S311 - must be the same every time, guards nothing
    lines = [HEADER, *(patient(number, dice) for number in range(1, COUNT + 1))]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
