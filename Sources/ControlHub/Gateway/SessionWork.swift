/// Runs what all sessions have to do, as children of one task.
///
/// A session waits here with three pieces of work at most, each only once, and a connection before it is one with a
/// single one, so their number bounds the queue.
final class SessionWork: Sendable {
    typealias Job = @Sendable () async -> Void

    private let jobs: AsyncStream<Job>
    private let queue: AsyncStream<Job>.Continuation

    init() {
        (jobs, queue) = AsyncStream.makeStream()
    }

    /// Has `job` run soon. After `finish` nothing is run any more.
    func add(_ job: @escaping Job) { queue.yield(job) }

    /// Runs jobs side by side until `finish`, or until it is cancelled, which cancels the jobs as well.
    func run() async {
        await withDiscardingTaskGroup { group in
            for await job in jobs {
                group.addTask { await job() }
            }
        }
    }

    /// Takes no more jobs; those that were added are still done.
    func finish() { queue.finish() }
}
