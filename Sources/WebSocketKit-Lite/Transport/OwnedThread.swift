import CLinux

/// Threads of our own, for what must not run on the cooperative pool.
enum OwnedThread {
    private final class Body {
        let name: String
        let run: @Sendable () -> Void

        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// Runs `body` on a new thread that nobody waits for. All signals are blocked on it: they are the business of the
    /// program's own threads.
    static func start(name: String, _ body: @escaping @Sendable () -> Void) throws(WebSocketError) {
        let context = Unmanaged.passRetained(Body(name: name, run: body))
        let failure = CLinux_start_thread(
            { argument in
                guard let argument else { return nil }
                let body = Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
                CLinux_set_thread_name(body.name)
                body.run()
                return nil
            },
            context.toOpaque()
        )
        guard failure == 0 else {
            context.release()
            throw WebSocketError(.system, "cannot start a thread: \(String(systemError: failure))")
        }
    }
}
