import ServiceLifecycle

/// Gives back, from time to time, what the agent's start and busy hours have left in its memory: code that ran once, and
/// free parts of the heap. What is needed after all comes back within microseconds.
struct MemoryService: Service {
    /// The start is over by then, whatever the machine.
    private static let firstPause = Duration.seconds(10)
    private static let pause = Duration.seconds(600)

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var next = Self.firstPause
            while (try? await Task.sleep(for: next)) != nil {
                ProgramMemory.giveBack()
                next = Self.pause
            }
        }
    }
}
