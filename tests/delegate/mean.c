/* A delegate of LiteRT that takes operators of one kind, MEAN unless OPERATOR says another, and computes means
   of float images (1, H, W, C) over H and W. It declares of LiteRT's structures what it needs, in their order. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifndef OPERATOR
#define OPERATOR 40 /* MEAN among the builtin operators */
#endif

enum { OK = 0, FLOAT32 = 1 };

typedef struct { int size; int data[]; } Ints;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  int type;
  float *data;
  Ints *dims;
  struct { float scale; int32_t zero_point; } params;
  int allocation_type;
  size_t bytes;
  const void *allocation;
  const char *name;
  Delegate *delegate;
  int buffer_handle;
  bool data_is_stale, is_variable;
  struct { int type; void *params; } quantization;
  void *sparsity;
  const Ints *dims_signature;
} Tensor;

typedef struct { Ints *inputs, *outputs; } Node; /* and more */

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, Node *);
  int (*invoke)(Context *, Node *);
  const char *(*profiling_string)(const Context *, const Node *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *registration_external;
  void *(*async_kernel)(Context *, Node *);
  uint64_t inplace_operator;
} Registration;

struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(Context *, Ints **);
  Tensor *tensors;
  void *impl;
  int (*resize_tensor)(Context *, Tensor *, Ints *);
  void (*report_error)(Context *, const char *, ...);
  int (*add_tensors)(Context *, int, int *);
  int (*get_node)(Context *, int, Node **, Registration **);
  int (*replace)(Context *, Registration, const Ints *, Delegate *); /* and more */
};

struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  void *copy_from_buffer_handle, *copy_to_buffer_handle, *free_buffer_handle;
  int64_t flags;
  void *opaque_delegate_builder;
};

static int invoke(Context *context, Node *node) {
  const Tensor *output = &context->tensors[node->outputs->data[0]], *input = NULL;
  for (int i = 0; i < node->inputs->size; i++)
    if (context->tensors[node->inputs->data[i]].type == FLOAT32) input = &context->tensors[node->inputs->data[i]];
  size_t channels = output->bytes / sizeof(float), rows = input->bytes / output->bytes;
  for (size_t c = 0; c < channels; c++) {
    double sum = 0;
    for (size_t row = 0; row < rows; row++) sum += input->data[row * channels + c];
    output->data[c] = (float)(sum / (double)rows);
  }
  return OK;
}

static int take(Context *context, Delegate *delegate) {
  Ints *plan;
  Registration kernel = {.invoke = invoke, .custom_name = "Mean", .version = 1};
  if (context->get_execution_plan(context, &plan) != OK) return 1;
  Ints *taken = calloc((size_t)plan->size + 1, sizeof(int));
  for (int i = 0; i < plan->size; i++) {
    Node *node;
    Registration *registration;
    if (context->get_node(context, plan->data[i], &node, &registration) != OK) return 1;
    if (registration->builtin_code == OPERATOR) taken->data[taken->size++] = plan->data[i];
  }
  int status = context->replace(context, kernel, taken, delegate);
  free(taken);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  (void)keys, (void)values, (void)count, (void)report;
  Delegate *delegate = calloc(1, sizeof(Delegate));
  delegate->prepare = take;
  return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
