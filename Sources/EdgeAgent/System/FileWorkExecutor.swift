import Dispatch

/// Runs tasks that wait for disks on threads of their own, so that they never occupy one of the cooperative pool.
///
/// As many threads as tasks work at the same time; who starts tasks bounds their number.
final class FileWorkExecutor: TaskExecutor {
    private let queue: DispatchQueue

    /// - Parameter label: shown by debuggers.
    init(label: String) {
        queue = DispatchQueue(label: label, attributes: .concurrent)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
