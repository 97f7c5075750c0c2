import GRDB
import Synchronization

/// Commits what is waiting to be written together, so that many writers pay for one flush of the disk.
///
/// Each piece of work is a savepoint of the transaction it shares: it is there whole or not at all, and one that throws takes
/// nothing else with it. Nobody is answered before the transaction is on disk. While it gets there the next group gathers,
/// so a slow disk makes larger groups, and a single writer waits for nobody.
final class GroupCommit: Sendable {
    /// How much is put into one transaction at most: the first of a group waits for the last.
    private static let largestGroup = 64

    private let pool: DatabasePool
    private let state = Mutex(State())

    private struct State {
        var waiting: [Work] = []
        var isCommitting = false
    }

    /// One writer's part of a transaction.
    private struct Work: Sendable {
        let perform: @Sendable (Database) -> Part
        let refuse: @Sendable (any Error) -> Void
    }

    /// What has come of it.
    private struct Part {
        let error: (any Error)?
        /// Answers the writer, with the error of the transaction if there was one.
        let answer: ((any Error)?) -> Void
    }

    init(pool: DatabasePool) {
        self.pool = pool
    }

    /// Runs `body` in a transaction and returns when it is on disk. When `body` throws, nothing of it remains.
    ///
    /// Work that has been handed over is done, also when its task is cancelled meanwhile: whether it happened is then known.
    func write<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        try Task.checkCancellation()
        return try await withCheckedThrowingContinuation { continuation in
            enqueue(
                Work(
                    perform: { db in
                        let result = Result { try Self.inSavepoint(db, body) }
                        var error: (any Error)?
                        if case .failure(let thrown) = result { error = thrown }
                        return Part(error: error) { continuation.resume(with: $0.map(Result.failure) ?? result) }
                    },
                    refuse: { continuation.resume(throwing: $0) }
                )
            )
        }
    }

    private func enqueue(_ work: Work) {
        let isFirst = state.withLock { state in
            state.waiting.append(work)
            defer { state.isCommitting = true }
            return !state.isCommitting
        }
        if isFirst { commitNext() }
    }

    /// Commits a group on the writer's queue, and then the next, for as long as somebody waits.
    private func commitNext() {
        pool.asyncWriteWithoutTransaction { db in
            self.commit(self.take(), in: db)
            let isDone = self.state.withLock { state in
                state.isCommitting = !state.waiting.isEmpty
                return !state.isCommitting
            }
            // By way of the queue, where others than these writers may have come to wait.
            if !isDone { self.commitNext() }
        }
    }

    private func take() -> [Work] {
        state.withLock { state in
            let group = Array(state.waiting.prefix(Self.largestGroup))
            state.waiting.removeFirst(group.count)
            return group
        }
    }

    private func commit(_ group: [Work], in db: Database) {
        var parts: [Part] = []
        var failure: (any Error)?
        do {
            try db.inTransaction(.immediate) {
                for work in group {
                    let part = work.perform(db)
                    parts.append(part)
                    // A full disk, for one, makes SQLite give up the transaction, and with it what came before.
                    guard db.isInsideTransaction else { throw part.error ?? DatabaseError(resultCode: .SQLITE_ABORT) }
                }
                return .commit
            }
        } catch {
            failure = error
        }
        for part in parts { part.answer(failure) }
        // Only where the transaction has failed: there is no other way out before all have had their turn.
        for work in group.dropFirst(parts.count) { work.refuse(failure ?? DatabaseError(resultCode: .SQLITE_ABORT)) }
    }

    private static func inSavepoint<Value>(_ db: Database, _ body: (Database) throws -> Value) throws -> Value {
        var value: Value?
        try db.inSavepoint {
            value = try body(db)
            return .commit
        }
        // Set, because the savepoint would have thrown.
        guard let value else { throw DatabaseError(resultCode: .SQLITE_INTERNAL) }
        return value
    }
}
