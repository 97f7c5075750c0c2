/// Runs tasks on the one thread of a simulation, in the order in which they come, at moments that the world chooses.
///
/// What awaits only what is of the same simulation is as deterministic here as the rest: a task goes on until it waits, and what it
/// waits for is an event.
///
/// Unchecked: nobody calls it from another thread.
final class SteppedExecutor: TaskExecutor, @unchecked Sendable {
    private let world: World
    /// Gives those who run here the rights they have.
    private let around: (() -> Void) -> Void
    private var jobs: [UnownedJob] = []
    private var isScheduled = false
    private var isDraining = false

    init(_ simulation: Simulation, around: @escaping (() -> Void) -> Void = { $0() }) {
        world = simulation.world
        self.around = around
        // Tasks do not keep it.
        simulation.executors.append(self)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        jobs.append(UnownedJob(job))
        guard !isScheduled, !isDraining else { return }
        isScheduled = true
        world.after(world.pick(10...200)) { [weak self] in
            self?.isScheduled = false
            self?.drain()
        }
    }

    /// - Returns: whether there was anything to do.
    @discardableResult
    func drain() -> Bool {
        guard !isDraining, !jobs.isEmpty else { return false }
        isDraining = true
        around {
            while !jobs.isEmpty { jobs.removeFirst().runSynchronously(on: asUnownedTaskExecutor()) }
        }
        isDraining = false
        return true
    }
}
