import WireFormat

/// Work on whole trees for actors on whose queue others wait: it may take as long as the tree is large.
enum FileWork {
    private static let executor = FileWorkExecutor(label: "edge-agent.trees")

    /// Runs the work on a thread of its own. The caller's actor goes on with other things meanwhile.
    static func run<Value: Sendable>(
        _ work: @escaping @Sendable () throws(RuntimeError) -> Value
    ) async throws(RuntimeError) -> Value {
        let result = await withTaskGroup(of: Result<Value, RuntimeError>.self) { group in
            group.addTask(executorPreference: executor) {
                do throws(RuntimeError) {
                    return .success(try work())
                } catch {
                    return .failure(error)
                }
            }
            return await group.next()
        }
        guard let result else { throw RuntimeError(.storageFailed, "the agent is stopping") }
        return try result.get()
    }
}
