import Dispatch
import Foundation
import Glibc
import Synchronization

/// Runs tasks with the rights of a user who is not root. Rights over files are a thread's own (setfsuid), so one thread, which does
/// nothing else, has them for as long as the tests run.
final class UnprivilegedExecutor: TaskExecutor {
    /// Who it is; whoever runs the tests, where that is not root.
    static let user: uid_t = geteuid() == 0 ? 65534 : geteuid()
    static let shared = UnprivilegedExecutor()

    private let jobs = Mutex<[UnownedJob]>([])
    private let ready = DispatchSemaphore(value: 0)

    private init() {
        Thread.detachNewThread { [self] in
            // Swift's Glibc does not have it.
            if geteuid() == 0, let symbol = dlsym(nil, "setfsuid") {
                _ = unsafeBitCast(symbol, to: (@convention(c) (uid_t) -> Int32).self)(Self.user)
            }
            while true {
                ready.wait()
                jobs.withLock { $0.isEmpty ? nil : $0.removeFirst() }?.runSynchronously(on: asUnownedTaskExecutor())
            }
        }
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        jobs.withLock { $0.append(job) }
        ready.signal()
    }
}

extension TestWorkspace {
    /// Gives all there is, the agent's own files as well, to the user of `UnprivilegedExecutor`.
    func giveAway() {
        guard geteuid() == 0 else { return }
        // Where the agent moves its own files to, when it first looks.
        mkdir(bots + "-control", 0o700)
        for root in [bots, bots + "-control"] { TestTree(root: root).own(by: UnprivilegedExecutor.user) }
    }
}
