extension String {
    /// An agent's one-line reason, which begins small and has no full stop, as a sentence beside others.
    var asSentence: String {
        guard let first else { return "The node did not say why." }
        let hasEnd = last.map { ".!?".contains($0) } ?? false
        return first.uppercased() + dropFirst() + (hasEnd ? "" : ".")
    }
}
