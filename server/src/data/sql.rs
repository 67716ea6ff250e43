//! Renders queries to SQL for either database. Every value is bound; every name comes from a source's declaration.

use std::collections::BTreeSet;

use sea_query::{
    Asterisk, Cond, Expr, ExprTrait as _, Func, JoinType, LikeExpr, NullOrdering, Order, PostgresQueryBuilder, Query,
    SelectStatement, SqliteQueryBuilder, Value, Values, extension::postgres::PgExpr as _,
};
use shared::{
    data::{Cell, Condition, FieldKind, Filter, Operator, Range, RowKey, Sorter, field, visible},
    error::{Error, ErrorKind, Result},
};

use super::{
    error::internal,
    source::{Column, DataSource, Mapping},
    transaction::{Backend, Statement},
};

/// A filter with the rule that goes with it: what decides whether a row is visible in a window.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scope {
    /// What the user asked for.
    pub(crate) filter: Filter,
    /// What the user may see.
    pub(crate) rule: Filter,
}

impl Scope {
    /// How many values a statement binds for it.
    pub(crate) fn values(&self) -> usize {
        let mut values = 0;
        for filter in [&self.filter, &self.rule] {
            filter.each_condition(&mut |condition| values += condition.values.len());
        }
        values
    }

    pub(crate) fn fields(&self) -> BTreeSet<&str> {
        let mut fields = BTreeSet::new();
        for filter in [&self.filter, &self.rule] {
            filter.each_condition(&mut |condition| {
                fields.insert(condition.field.as_str());
            });
        }
        fields
    }
}

/// Renders the statements of one source.
#[derive(Clone, Copy)]
pub(crate) struct Renderer<'a> {
    pub(crate) backend: Backend,
    pub(crate) source: &'a dyn DataSource,
}

impl Renderer<'_> {
    fn mapping(&self) -> &'static Mapping {
        self.source.mapping()
    }

    fn alias(&self, column: &Column) -> &'static str {
        if column.from.is_empty() {
            self.mapping().table
        } else {
            column.from
        }
    }

    fn column(&self, name: &str) -> Result<Expr> {
        let column = self.mapping().column(name)?;
        Ok(Expr::col((self.alias(column), column.column)))
    }

    fn key(&self) -> Expr {
        Expr::col((self.mapping().table, self.mapping().key_column()))
    }

    /// The keys of a range of the sorted rows.
    pub(crate) fn keys(&self, scope: &Scope, sorters: &[Sorter], range: Range) -> Result<Statement> {
        let mut select = Query::select();
        select.expr(self.key());
        let mut names = scope.fields();
        names.extend(sorters.iter().map(|sorter| sorter.field.as_str()));
        self.from(&mut select, &names, self.driver(sorters));
        self.restrict(&mut select, scope)?;
        self.order(&mut select, sorters)?;
        select.limit(u64::from(range.length)).offset(range.start);
        self.build(&select)
    }

    /// How many rows match.
    pub(crate) fn count(&self, scope: &Scope) -> Result<Statement> {
        let mut select = Query::select();
        select.expr(Func::count(Expr::col(Asterisk)));
        self.from(&mut select, &scope.fields(), None);
        self.restrict(&mut select, scope)?;
        self.build(&select)
    }

    /// The rows of some keys with what each scope says about them: key, visible cells, then one truth value per scope.
    /// Without scopes it says only what the rows are.
    pub(crate) fn rows(&self, keys: &[RowKey], scopes: &[&Scope]) -> Result<Statement> {
        let mut select = Query::select();
        select.expr(self.key());
        let mut names: BTreeSet<&str> = visible(self.source.fields()).map(|field| field.name).collect();
        for field in visible(self.source.fields()) {
            let column = self.column(field.name)?;
            // PostgreSQL hands dates over as text; the other kinds read the same on both sides.
            let as_text = self.backend == Backend::Postgres && field.kind == FieldKind::Date;
            select.expr(if as_text { column.cast_as("text") } else { column });
        }
        for scope in scopes {
            names.extend(scope.fields());
            let both = self.filter(&scope.filter)?.and(self.filter(&scope.rule)?);
            select.expr(self.embed("CASE WHEN ? THEN 1 ELSE 0 END", "CASE WHEN $1 THEN 1 ELSE 0 END", both));
        }
        self.from(&mut select, &names, None);
        select.and_where(self.key().is_in(keys.iter().map(key_value)));
        self.build(&select)
    }

    /// How many rows of the scope come before the row with these sort values and this key.
    pub(crate) fn rows_before(
        &self,
        scope: &Scope,
        sorters: &[Sorter],
        values: &[Cell],
        key: &RowKey,
    ) -> Result<Statement> {
        let mut select = Query::select();
        select.expr(Func::count(Expr::col(Asterisk)));
        let mut names = scope.fields();
        names.extend(sorters.iter().map(|sorter| sorter.field.as_str()));
        self.from(&mut select, &names, None);
        self.restrict(&mut select, scope)?;
        let mut before = Cond::any();
        let mut equal = Cond::all();
        for (sorter, value) in sorters.iter().zip(values) {
            let kind = self.kind(&sorter.field)?;
            let bound = self.bind(kind, value);
            let at = || self.column(&sorter.field);
            let ahead = match (value.is_null(), sorter.descending) {
                (true, false) => None,
                (true, true) => Some(at()?.is_not_null()),
                (false, false) => Some(at()?.lt(bound.clone()).or(at()?.is_null())),
                (false, true) => Some(at()?.gt(bound.clone())),
            };
            if let Some(ahead) = ahead {
                before = before.add(equal.clone().add(ahead));
            }
            equal = equal.add(if value.is_null() {
                at()?.is_null()
            } else {
                at()?.eq(bound)
            });
        }
        let descending = sorters.last().is_some_and(|sorter| sorter.descending);
        let key = Expr::val(key_value(key));
        before = before.add(equal.add(if descending {
            self.key().gt(key)
        } else {
            self.key().lt(key)
        }));
        select.cond_where(before);
        self.build(&select)
    }

    /// The first rows whose `display` field contains a text, in its order: key and text.
    pub(crate) fn lookup(&self, scope: &Scope, display: &str, limit: u32) -> Result<Statement> {
        let mut select = Query::select();
        select.expr(self.key()).expr(self.column(display)?);
        let mut names = scope.fields();
        names.insert(display);
        let sorters = [Sorter::ascending(display)];
        self.from(&mut select, &names, self.driver(&sorters));
        self.restrict(&mut select, scope)?;
        self.order(&mut select, &sorters)?;
        select.limit(u64::from(limit));
        self.build(&select)
    }

    pub(crate) fn kind(&self, name: &str) -> Result<FieldKind> {
        field(self.source.fields(), name)
            .map(|field| field.kind)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("There is no field '{name}'.")))
    }

    /// The join to start from when sorting by one of its columns: walking that table's index and then the base rows of
    /// each entry gives the order without sorting. Only for a column that is unique, or equal names would interleave.
    fn driver(&self, sorters: &[Sorter]) -> Option<&'static str> {
        let [sorter] = sorters else { return None };
        let column = self.mapping().column(&sorter.field).ok()?;
        let join = self.mapping().join(column.from)?;
        let usable = self.backend == Backend::Sqlite && column.unique && !join.optional && join.from.is_empty();
        usable.then_some(join.alias)
    }

    /// The tables that the named fields live in.
    fn from(&self, select: &mut SelectStatement, names: &BTreeSet<&str>, driver: Option<&'static str>) {
        let mapping = self.mapping();
        let mut needed = BTreeSet::new();
        for name in names {
            let mut alias = mapping.column(name).map_or("", |column| column.from);
            while let Some(join) = mapping.join(alias) {
                needed.insert(join.alias);
                alias = join.from;
            }
        }
        if let Some(join) = driver.and_then(|alias| mapping.join(alias)) {
            // SQLite keeps the order of a cross join, so this fixes the outer loop.
            select.from_as(join.table, join.alias);
            select.join(JoinType::CrossJoin, mapping.table, Cond::all());
            select.and_where(Expr::col((join.alias, join.key)).equals((mapping.table, join.column)));
        } else {
            select.from(mapping.table);
        }
        for join in mapping
            .joins
            .iter()
            .filter(|join| needed.contains(join.alias) && driver != Some(join.alias))
        {
            let from = if join.from.is_empty() { mapping.table } else { join.from };
            let kind = if join.optional {
                JoinType::LeftJoin
            } else {
                JoinType::InnerJoin
            };
            let on = Expr::col((join.alias, join.key)).equals((from, join.column));
            select.join_as(kind, join.table, join.alias, on);
        }
    }

    fn restrict(&self, select: &mut SelectStatement, scope: &Scope) -> Result<()> {
        for filter in [&scope.filter, &scope.rule] {
            if *filter != Filter::All {
                select.and_where(self.filter(filter)?);
            }
        }
        Ok(())
    }

    /// Nulls are the smallest, and the key comes last in the direction of the last sorter: both what an index gives.
    fn order(&self, select: &mut SelectStatement, sorters: &[Sorter]) -> Result<()> {
        for sorter in sorters {
            let column = self.column(&sorter.field)?;
            if sorter.descending {
                select.order_by_expr_with_nulls(column, Order::Desc, NullOrdering::Last);
            } else {
                select.order_by_expr_with_nulls(column, Order::Asc, NullOrdering::First);
            }
        }
        let descending = sorters.last().is_some_and(|sorter| sorter.descending);
        if !sorters.iter().any(|sorter| sorter.field == self.mapping().key) {
            select.order_by_expr(self.key(), if descending { Order::Desc } else { Order::Asc });
        }
        Ok(())
    }

    /// A filter as an expression that is never null.
    fn filter(&self, filter: &Filter) -> Result<Expr> {
        match filter {
            Filter::All => Ok(Expr::cust("1 = 1")),
            Filter::And(parts) => self.fold(parts, "1 = 1", |one, other| one.and(other)),
            Filter::Or(parts) => self.fold(parts, "1 = 0", |one, other| one.or(other)),
            Filter::Not(part) => Ok(self.embed("(?) IS NOT TRUE", "($1) IS NOT TRUE", self.filter(part)?)),
            Filter::Condition(condition) => self.condition(condition),
        }
    }

    /// An expression within a text that the builder has no words for; the place of it is marked as each database does.
    fn embed(&self, sqlite: &'static str, postgres: &'static str, inner: Expr) -> Expr {
        match self.backend {
            Backend::Sqlite => Expr::cust_with_expr(sqlite, inner),
            Backend::Postgres => Expr::cust_with_expr(postgres, inner),
        }
    }

    fn fold(&self, parts: &[Filter], empty: &'static str, join: fn(Expr, Expr) -> Expr) -> Result<Expr> {
        let mut expression: Option<Expr> = None;
        for part in parts {
            let next = self.filter(part)?;
            expression = Some(match expression {
                Some(expression) => join(expression, next),
                None => next,
            });
        }
        Ok(expression.unwrap_or_else(|| Expr::cust(empty)))
    }

    fn condition(&self, condition: &Condition) -> Result<Expr> {
        let kind = self.kind(&condition.field)?;
        let column = || self.column(&condition.field);
        let value = |index: usize| {
            let cell = condition.values.get(index);
            cell.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "A condition lacks a value."))
        };
        let bound = |index: usize| value(index).map(|cell| self.bind(kind, cell));
        let with_null = condition.values.iter().any(Cell::is_null);
        let some = || {
            condition
                .values
                .iter()
                .filter(|cell| !cell.is_null())
                .map(|cell| self.bind(kind, cell))
        };
        Ok(match condition.operator {
            Operator::Equals if with_null => column()?.is_null(),
            Operator::Equals => column()?.eq(bound(0)?),
            Operator::NotEquals if with_null => column()?.is_not_null(),
            Operator::NotEquals => column()?.ne(bound(0)?).or(column()?.is_null()),
            Operator::Less => column()?.lt(bound(0)?),
            Operator::LessOrEqual => column()?.lte(bound(0)?),
            Operator::Greater => column()?.gt(bound(0)?),
            Operator::GreaterOrEqual => column()?.gte(bound(0)?),
            Operator::Between => column()?.gte(bound(0)?).and(column()?.lte(bound(1)?)),
            Operator::Contains => self.like(column()?, value(0)?, "%"),
            Operator::StartsWith => self.like(column()?, value(0)?, ""),
            Operator::In => {
                let listed = column()?.is_in(some());
                if with_null {
                    listed.or(column()?.is_null())
                } else {
                    listed
                }
            }
            Operator::NotIn => {
                let unlisted = column()?.is_not_in(some());
                if with_null {
                    unlisted.and(column()?.is_not_null())
                } else {
                    unlisted.or(column()?.is_null())
                }
            }
            Operator::IsNull => column()?.is_null(),
            Operator::IsNotNull => column()?.is_not_null(),
        })
    }

    /// Text match in upper or lower case. SQLite folds ASCII only, so other letters are offered in each case as a whole.
    fn like(&self, column: Expr, text: &Cell, before: &str) -> Expr {
        let text = text.as_text().unwrap_or_default();
        let pattern = |text: &str| {
            let mut pattern = String::from(before);
            for character in text.chars() {
                if matches!(character, '%' | '_' | '\\') {
                    pattern.push('\\');
                }
                pattern.push(character);
            }
            pattern.push('%');
            LikeExpr::new(pattern)
        };
        match self.backend {
            // The backslash is PostgreSQL's own escape; SQLite has none until it is named.
            Backend::Postgres => column.ilike(pattern(text)),
            Backend::Sqlite if text.is_ascii() => column.like(pattern(text).escape('\\')),
            Backend::Sqlite => {
                let mut variants = vec![text.to_lowercase(), text.to_uppercase(), text.to_owned()];
                variants.dedup();
                let mut matches = variants
                    .iter()
                    .map(|variant| column.clone().like(pattern(variant).escape('\\')));
                let first = matches.next().unwrap_or_else(|| Expr::cust("1 = 0"));
                matches.fold(first, |all, next| all.or(next))
            }
        }
    }

    /// A value as a bound expression that compares with a column of the kind.
    pub(crate) fn bind(&self, kind: FieldKind, cell: &Cell) -> Expr {
        let bound = Expr::val(cell_value(cell));
        let typed = self.backend == Backend::Postgres && matches!(cell, Cell::Date(_) | Cell::Null);
        match (typed, kind) {
            (true, FieldKind::Date) => bound.cast_as("date"),
            (true, FieldKind::Integer { .. }) => bound.cast_as("bigint"),
            (true, FieldKind::Boolean) => bound.cast_as("boolean"),
            (true, FieldKind::Real) => bound.cast_as("double precision"),
            (_, _) => bound,
        }
    }

    /// The text and values of any statement.
    pub(crate) fn build(&self, statement: &impl sea_query::QueryStatementBuilder) -> Result<Statement> {
        let (sql, Values(values)) = match self.backend {
            Backend::Sqlite => statement.build_any(&SqliteQueryBuilder),
            Backend::Postgres => statement.build_any(&PostgresQueryBuilder),
        };
        let values = values.into_iter().map(value_cell).collect::<Result<_>>()?;
        Ok(Statement { sql, values })
    }
}

pub(crate) fn key_value(key: &RowKey) -> Value {
    match key {
        RowKey::Integer(value) => Value::BigInt(Some(*value)),
        RowKey::Text(value) => Value::String(Some(value.clone())),
    }
}

fn cell_value(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::String(None),
        Cell::Boolean(value) => Value::Bool(Some(*value)),
        Cell::Integer(value) => Value::BigInt(Some(*value)),
        Cell::Real(value) => Value::Double(Some(*value)),
        Cell::Date(value) => Value::String(Some(value.to_string())),
        Cell::Text(value) => Value::String(Some(value.clone())),
    }
}

/// Back from the values that a statement collected, which are those of [`cell_value`] and of limits.
fn value_cell(value: Value) -> Result<Cell> {
    Ok(match value {
        Value::Bool(value) => value.into(),
        Value::BigInt(value) => value.into(),
        Value::Int(value) => value.map(i64::from).into(),
        Value::BigUnsigned(Some(value)) => i64::try_from(value)
            .map(Cell::Integer)
            .map_err(|error| internal(&error))?,
        Value::Double(value) => value.into(),
        Value::String(value) => value.into(),
        other => {
            return Err(internal(&format_args!(
                "a statement has a value of unexpected kind: {other:?}"
            )));
        }
    })
}

/// A cell as read, fitted to the kind of its field. What does not fit stays as it is: another program may have written
/// it, and a grid that shows an odd value is better than one that stops.
pub(crate) fn fit(kind: FieldKind, cell: Cell) -> Cell {
    match (kind, cell) {
        (FieldKind::Date, Cell::Text(text)) => text.parse().map_or(Cell::Text(text), Cell::Date),
        (FieldKind::Boolean, Cell::Integer(value)) => Cell::Boolean(value != 0),
        #[expect(clippy::cast_precision_loss, reason = "a real field shows what a real number can")]
        (FieldKind::Real, Cell::Integer(value)) => Cell::Real(value as f64),
        (_, cell) => cell,
    }
}
