import Dispatch
import Synchronization

/// Runs tasks that wait for disks, or read a file for as long as it is, on threads of their own, so that they never occupy one of
/// the cooperative pool.
///
/// As many threads as tasks work at the same time; who starts tasks bounds their number. One concurrent queue would not do: to
/// libdispatch that is the cooperative pool again, with a thread for each processor and no more as long as those are busy. A serial
/// queue gets a thread as soon as it has something to do, so each piece of work gets one that has nothing else.
final class FileWorkExecutor: TaskExecutor {
    private let label: String
    /// Never more than have worked at the same time.
    private let idle = Mutex<[DispatchQueue]>([])

    /// - Parameter label: shown by debuggers.
    init(label: String) {
        self.label = label
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let queue = idle.withLock { $0.popLast() } ?? DispatchQueue(label: label)
        queue.async {
            job.runSynchronously(on: self.asUnownedTaskExecutor())
            self.idle.withLock { $0.append(queue) }
        }
    }
}
