/// Whether somebody's work is being done, and whether there is more: for work that is done by a task which is there
/// only while there is some. Its holder guards it by a lock.
struct WorkFlag {
    private var isRunning = false
    private var isWoken = false

    /// Notes that there is work.
    ///
    /// - Returns: whether to start a task for it, which is not so while one runs.
    mutating func wake() -> Bool {
        isWoken = true
        defer { isRunning = true }
        return !isRunning
    }

    /// To be called before looking for work: what was noted until now is about to be seen.
    mutating func look() { isWoken = false }

    /// To be called when no work was found.
    ///
    /// - Returns: whether the task ends; false when more was noted meanwhile, and it has to look again.
    mutating func rest() -> Bool {
        guard !isWoken else { return false }
        isRunning = false
        return true
    }
}
