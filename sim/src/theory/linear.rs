//! Small dense matrices, and the chains whose levels all look alike.

/// Rows of a matrix.
pub(super) type Matrix = Vec<Vec<f64>>;

/// Solves `left * x = right` for the columns of `right` by Gaussian elimination with partial
/// pivoting; `None` if `left` is singular.
pub(super) fn solve(mut left: Matrix, mut right: Matrix) -> Option<Matrix> {
    let n = left.len();
    for column in 0..n {
        let size = |row: &usize| left[*row][column].abs();
        // Of equal ones the first, so that a diagonal that dominates stays where it is.
        let pivot = (column..n)
            .rev()
            .max_by(|a, b| size(a).total_cmp(&size(b)))?;
        left.swap(column, pivot);
        right.swap(column, pivot);
        let factor = 1.0 / left[column][column];
        if !factor.is_finite() {
            return None;
        }
        left[column].iter_mut().for_each(|entry| *entry *= factor);
        right[column].iter_mut().for_each(|entry| *entry *= factor);
        let (left_pivot, right_pivot) = (left[column].clone(), right[column].clone());
        for row in (0..n).filter(|&row| row != column) {
            let factor = left[row][column];
            subtract(&mut left[row], factor, &left_pivot);
            subtract(&mut right[row], factor, &right_pivot);
        }
    }
    Some(right)
}

fn subtract(row: &mut [f64], factor: f64, other: &[f64]) {
    if factor.abs() > 0.0 {
        row.iter_mut()
            .zip(other)
            .for_each(|(entry, x)| *entry -= factor * x);
    }
}

fn product(left: &Matrix, right: &Matrix) -> Matrix {
    let columns = right.first().map_or(0, Vec::len);
    let row = |row: &Vec<f64>| {
        let mut sums = vec![0.0; columns];
        row.iter()
            .zip(right)
            .for_each(|(&factor, other)| subtract(&mut sums, -factor, other));
        sums
    };
    left.iter().map(row).collect()
}

fn combine(left: &Matrix, factor: f64, right: &Matrix) -> Matrix {
    let row = |(left, right): (&Vec<f64>, &Vec<f64>)| {
        left.iter()
            .zip(right)
            .map(|(l, r)| l + factor * r)
            .collect()
    };
    left.iter().zip(right).map(row).collect()
}

fn identity(n: usize) -> Matrix {
    (0..n)
        .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
        .collect()
}

fn transpose(matrix: &Matrix) -> Matrix {
    let columns = matrix.first().map_or(0, Vec::len);
    (0..columns)
        .map(|j| matrix.iter().map(|row| row[j]).collect())
        .collect()
}

/// A quasi-birth-death process: rates between phases of one level and its neighbours, the same on
/// every level but the lowest, below which there is none.
pub(super) struct Levels {
    /// Rates to the phases of the next level.
    pub(super) up: Matrix,
    /// Rates to the phases of the same level; what is on the diagonal counts for nothing.
    pub(super) within: Matrix,
    /// Rates to the phases of the level before.
    pub(super) down: Matrix,
}

/// What a [`Levels`] process has in steady state, by phase.
pub(super) struct Stationary {
    /// Probability of the phase.
    pub(super) probability: Vec<f64>,
    /// Expectation of the level, zero in other phases.
    pub(super) level: Vec<f64>,
}

impl Levels {
    /// The steady state, from the matrix-geometric solution `π(n) = π(0) Rⁿ` (Neuts, 1981,
    /// Matrix-Geometric Solutions in Stochastic Models, chapter 3); `None` if there is none
    /// that can be found.
    pub(super) fn stationary(&self) -> Option<Stationary> {
        let n = self.up.len();
        let exits = |matrix: &Matrix, row: usize| matrix[row].iter().sum::<f64>();
        let mut lowest = self.within.clone();
        let mut local = self.within.clone();
        for i in 0..n {
            let within = exits(&self.within, i) - self.within[i][i];
            lowest[i][i] = -(within + exits(&self.up, i));
            local[i][i] = lowest[i][i] - exits(&self.down, i);
        }
        let negative_local: Matrix = combine(&vec![vec![0.0; n]; n], -1.0, &local);
        let first_passage = self.first_passage(&negative_local)?;
        // R = up * U⁻¹ with U = -(local + up * first_passage), so Rᵀ = U⁻ᵀ upᵀ.
        let taboo = combine(&negative_local, -1.0, &product(&self.up, &first_passage));
        let rate = transpose(&solve(transpose(&taboo), transpose(&self.up))?);
        // π(0) (lowest + R down) = 0, with Σ π(0) (I - R)⁻¹ = 1 in place of one equation.
        let beyond = solve(combine(&identity(n), -1.0, &rate), identity(n))?;
        let mut equations = transpose(&combine(&lowest, 1.0, &product(&rate, &self.down)));
        equations[n - 1] = beyond.iter().map(|row| row.iter().sum()).collect();
        let mut right = vec![vec![0.0]; n];
        right[n - 1][0] = 1.0;
        let bottom = transpose(&solve(equations, right)?);
        let probability = product(&bottom, &beyond);
        let level = product(&product(&probability, &rate), &beyond);
        Some(Stationary {
            probability: probability.concat(),
            level: level.concat(),
        })
    }

    /// Probabilities of the phases on first reaching the level before, by logarithmic reduction
    /// (Latouche and Ramaswami, 1993, Journal of Applied Probability 30(3)).
    fn first_passage(&self, negative_local: &Matrix) -> Option<Matrix> {
        let n = self.up.len();
        let mut up = solve(negative_local.clone(), self.up.clone())?;
        let mut down = solve(negative_local.clone(), self.down.clone())?;
        let (mut passage, mut ascent) = (down.clone(), up.clone());
        // Every turn squares the distance to the limit, so 64 reach it wherever there is one.
        for _ in 0..64 {
            let return_here = combine(&product(&up, &down), 1.0, &product(&down, &up));
            let leave = combine(&identity(n), -1.0, &return_here);
            up = solve(leave.clone(), product(&up, &up))?;
            down = solve(leave, product(&down, &down))?;
            // One of the two is next, surely; kept exact, for heavy traffic magnifies what is lost.
            for (up, down) in up.iter_mut().zip(&mut down) {
                let total: f64 = up.iter().chain(down.iter()).sum();
                up.iter_mut().chain(down).for_each(|entry| *entry /= total);
            }
            passage = combine(&passage, 1.0, &product(&ascent, &down));
            ascent = product(&ascent, &up);
            if ascent.iter().flatten().all(|entry| entry.abs() < 1e-17) {
                return Some(passage);
            }
        }
        None
    }
}
