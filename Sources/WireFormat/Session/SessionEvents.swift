/// The events of a session, for one reader. Ends when the session has ended, or when the reading task is cancelled.
public struct SessionEvents<Element: Sendable>: AsyncSequence, Sendable {
    /// Reading never fails. How the session ended is what its `run()` returns.
    public typealias Failure = Never

    private let nextEvent: @Sendable () async throws -> Element?

    init(_ nextEvent: @escaping @Sendable () async throws -> Element?) {
        self.nextEvent = nextEvent
    }

    /// Takes the events off the session's queue; a second iterator would take them away from the first.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let nextEvent: @Sendable () async throws -> Element?

        /// The next event; nil at the end.
        public mutating func next() async -> Element? { await next(isolation: nil) }

        /// The next event; nil at the end.
        public mutating func next(isolation actor: isolated (any Actor)?) async -> Element? {
            do {
                return try await nextEvent()
            } catch {
                // Only a cancelled wait throws, and a cancelled reader has no use for events.
                return nil
            }
        }
    }

    /// Goes on after the last event taken, not at the session's first.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(nextEvent: nextEvent) }
}
