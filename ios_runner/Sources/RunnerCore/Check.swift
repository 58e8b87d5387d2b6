extension Request.Check {
    private static let blockBytes = 4 << 20

    /// The hash of the file, in hexadecimal digits; `each` is called between blocks and may throw.
    ///
    /// Throws `Failure`: model_missing where the file cannot be opened, model_invalid where it is none, has another size or
    /// cannot be read to its end.
    func hash(each: () throws -> Void) throws -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { throw Failure(.modelMissing, "the file \(path) cannot be opened: \(systemError())") }
        defer { close(descriptor) }
        var info = stat()
        if fstat(descriptor, &info) != 0 { throw Failure(.modelMissing, "the file \(path) cannot be opened: \(systemError())") }
        if info.st_mode & S_IFMT != S_IFREG { throw Failure(.modelInvalid, "\(path) is not a file") }
        if Int64(info.st_size) != bytes {
            throw Failure(.modelInvalid, "\(path) has \(info.st_size) bytes, not \(bytes)")
        }
        var sum = Sha256()
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.blockBytes, alignment: 16)
        defer { block.deallocate() }
        var taken: Int64 = 0
        while taken < bytes {
            let count = read(descriptor, block.baseAddress, block.count)
            if count < 0, errno == EINTR { continue }
            if count <= 0 {
                let why = count < 0 ? systemError() : "it ends before"
                throw Failure(.modelInvalid, "\(path) cannot be read beyond byte \(taken): \(why)")
            }
            sum.update(UnsafeRawBufferPointer(rebasing: block[..<count]))
            taken += Int64(count)
            try each()
        }
        return sum.hexadecimal()
    }
}
