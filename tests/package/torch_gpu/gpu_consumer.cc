// A program that uses no symbol of LibTorch's library for GPUs, which has to be loaded all the
// same.
int main() {}
